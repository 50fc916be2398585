"""What the database knows: one table a kind of thing, SQLite or Postgres by URL, SQLAlchemy Core."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

log = structlog.get_logger()
PATIENCE_S = 60.0
CONNECT_S = 5
PAUSE_S = 0.5
BUSY_S = 30

metadata = sa.MetaData(
    naming_convention={  # a later revision can only change what has a name
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
Json = sa.JSON()

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("etag", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),  # of the canonical archive in the store
    sa.Column("summary", Json, nullable=False),  # classes, splits, counts, issues
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)

baselines = sa.Table(
    "baselines",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("etag", sa.Text, nullable=False),
    sa.Column("document", sa.Text, nullable=False),  # the file, as `posneg record` writes it
    sa.Column("summary", Json, nullable=False),  # what a list tells of it
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)

checks = sa.Table(
    "checks",
    metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),  # order of creation
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("baseline", sa.Text),  # its name; null for one that came with the request
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("report", Json, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("sequence", sa.Integer, nullable=False, unique=True),  # order of creation, for stable pages
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("transitions", Json, nullable=False),
    sa.Column("progress", Json, nullable=False),
    sa.Column("metrics", Json, nullable=False),
    sa.Column("error", Json),
    sa.Column("result", Json),
    sa.Column("stop_reason", sa.Text),
    sa.Column("executor", sa.Text),  # the worker process that runs it, or ran it last
    sa.Column(
        "attempt", sa.Integer, nullable=False
    ),  # rises with every start: who holds another one is fenced off
    sa.Column(
        "deaths", sa.Integer, nullable=False
    ),  # since the last checkpoint, so that a job cannot kill for ever
    sa.Column("last_event", sa.Integer, nullable=False),  # number given last; never given twice
    sa.Column("workflow", sa.Text, nullable=False),  # in the queue; a resumed job gets another one
)

job_events = sa.Table(
    "job_events",
    metadata,
    sa.Column("job", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, nullable=False),  # what the event is about: told again, it is stored once
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("data", Json, nullable=False),
    sa.UniqueConstraint("job", "key"),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("executor", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("beat_at", sa.Float, nullable=False),
    sa.Column("job", sa.Text),
    sa.Column("details", Json, nullable=False),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("body_sha256", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),  # null while the first request is under way
    sa.Column("headers", Json),
    sa.Column("body", sa.LargeBinary),
    sa.Column("created_at", sa.Float, nullable=False),
)


class DatabaseSilent(RuntimeError):
    """The database did not answer for as long as was waited."""


def wait_for_database(url: str, patience_s: float = PATIENCE_S) -> None:
    """Return once the database at `url` answers; raises `DatabaseSilent` after `patience_s` seconds.

    Where machines or containers start together, Postgres is often the last that is ready. SQLite is a file:
    what is wrong with that, waiting does not mend.
    """
    address = sa.make_url(url)
    if address.get_backend_name() == "sqlite":
        return
    if "connect_timeout" not in address.query:
        address = address.update_query_dict({"connect_timeout": str(CONNECT_S)})
    engine = sa.create_engine(address, poolclass=sa.NullPool)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            engine.connect().close()
            return
        except sa.exc.OperationalError as error:
            reason = str(error.orig).strip().partition("\n")[0]
        if time.monotonic() >= deadline:
            raise DatabaseSilent(f"the database did not answer within {patience_s:g} s: {reason}")
        log.warning("waiting for the database", reason=reason)
        time.sleep(PAUSE_S)


class Records:
    """One database; hands out transactions. SQLAlchemy's calls block: use them from threads."""

    def __init__(self, url: str) -> None:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.engine = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        self._readers = self.engine.execution_options(posneg_reads_only=True)
        if url.startswith("sqlite"):
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction, committed at the end and rolled back on an exception.

        On SQLite it holds the one write lock from its start, so that what it reads cannot change before it
        writes; on Postgres lock the rows (`with_for_update`) where that matters.
        """
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads: one snapshot, and no waiting for writers."""
        with self._readers.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _: object) -> None:  # noqa: ANN401 - whatever the driver calls a connection
    connection.isolation_level = None  # the driver would begin a transaction at the first write, too late
    connection.execute(f"PRAGMA busy_timeout={BUSY_S * 1000}")
    _write_ahead(connection)
    connection.execute(
        "PRAGMA synchronous=NORMAL"
    )  # safe in WAL: a crash of the machine loses no consistency
    connection.execute("PRAGMA foreign_keys=ON")


def _write_ahead(connection: Any) -> None:  # noqa: ANN401 - whatever the driver calls a connection
    """Switch to WAL, which the file remembers.

    SQLite does not wait for the lock that the switch takes, so that of several first connections all but one
    would be refused.
    """
    patience = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: sa.Connection) -> None:
    reads_only = connection.get_execution_options().get("posneg_reads_only", False)
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
