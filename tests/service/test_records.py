"""The database: its form, and what its transactions hold."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import psycopg
import pytest
import sqlalchemy as sa
import structlog
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from posneg.service import migrations
from posneg.service.migrations import DatabaseTooNew, migrate
from posneg.service.records import DatabaseSilent, Records, metadata, wait_for_database, workers

WORKER = {"host": "h", "pid": 1, "device": "cpu", "state": "idle", "beat_at": 0.0, "details": {}}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind, as the settings would name it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/posneg.sqlite"
    postgres: str = request.getfixturevalue("postgres_url")
    return postgres.replace("postgresql://", "postgresql+psycopg://")


def test_migrations_make_what_the_code_expects(url: str) -> None:
    """A database from the revisions has the tables, columns, keys and indices of `metadata`."""
    migrate(url)
    records = Records(url)
    with records.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    records.close()


def test_the_newest_revision_is_head() -> None:
    """The constant that spares a start from loading Alembic names the last file."""
    assert ScriptDirectory(str(Path(migrations.__file__).parent)).get_current_head() == migrations.HEAD


def test_migrating_at_once_and_again_is_harmless(url: str) -> None:
    """Api and workers may all start on an empty database at the same time."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [url] * 4))
    migrate(url)


def test_a_newer_database_is_refused(url: str) -> None:
    """Old code does not touch what it cannot know."""
    migrate(url)
    records = Records(url)
    with records.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    records.close()
    with pytest.raises(DatabaseTooNew, match="9999"):
        migrate(url)


def test_a_failed_transaction_leaves_nothing(url: str) -> None:
    """An exception inside rolls back."""
    migrate(url)
    records = Records(url)

    def half_done() -> None:
        with records.begin() as connection:
            connection.execute(workers.insert().values(executor="w", **WORKER))
            raise KeyError("in the middle")

    with pytest.raises(KeyError):
        half_done()
    with records.read() as connection:
        assert connection.scalars(sa.select(workers.c.executor)).all() == []
    records.close()


def test_read_then_write_loses_no_update(url: str) -> None:
    """Transactions that read a row and write it back behave as if they had run one after another."""
    migrate(url)
    records = Records(url)
    with records.begin() as connection:
        connection.execute(workers.insert().values(executor="w", **WORKER))

    def add_one(_: int) -> None:
        with records.begin() as connection:
            pid = connection.scalar(sa.select(workers.c.pid).with_for_update())
            assert pid is not None
            connection.execute(workers.update().values(pid=pid + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, range(40)))
    with records.read() as connection:
        assert connection.scalar(sa.select(workers.c.pid)) == 41
    records.close()


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    """While SQLite's write lock is held, a reader sees the state before it."""
    url = f"sqlite:///{tmp_path}/posneg.sqlite"
    migrate(url)
    records = Records(url)
    with records.begin() as writing:
        writing.execute(workers.insert().values(executor="w", **WORKER))
        with records.read() as reading:
            assert reading.scalars(sa.select(workers.c.executor)).all() == []
    records.close()


def test_a_database_that_comes_late_is_waited_for(postgres_cluster: Path) -> None:
    """The wait begins before the database is there, and ends once it is."""
    url = f"postgresql+psycopg://posneg@/late?host={postgres_cluster}"
    silent = Event()

    def notice(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        silent.set()
        return event

    with ThreadPoolExecutor() as pool, structlog.testing.capture_logs(processors=[notice]):
        waiting = pool.submit(wait_for_database, url, 30)
        assert silent.wait(30)
        with psycopg.connect(
            f"postgresql://posneg@/postgres?host={postgres_cluster}", autocommit=True
        ) as admin:
            admin.execute("CREATE DATABASE late")
        assert waiting.result(30) is None


def test_the_wait_for_a_database_is_bounded(tmp_path: Path) -> None:
    """Where nothing listens, the reason is told, without the password."""
    with pytest.raises(DatabaseSilent, match="did not answer within 0 s: connection") as raised:
        wait_for_database(f"postgresql+psycopg://posneg:secret@/posneg?host={tmp_path}", 0)
    assert "secret" not in str(raised.value)


def test_a_file_is_not_waited_for(tmp_path: Path) -> None:
    """SQLite's database may not exist yet."""
    wait_for_database(f"sqlite:///{tmp_path}/none.sqlite", 0)
    assert list(tmp_path.iterdir()) == []
