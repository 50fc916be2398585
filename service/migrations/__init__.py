"""The database's form over time: each revision a file in `versions/`, applied before anything starts."""

from pathlib import Path

import sqlalchemy as sa
import structlog

from posneg.service.records import Records

HEAD = "0002"
"""The newest revision; a start that finds it does not even load Alembic."""
log = structlog.get_logger()
LOCK = 0x706F736E  # "posn": one number for everybody who migrates this database


class DatabaseTooNew(RuntimeError):
    """The database was made by a newer version than this one."""


def migrate(url: str) -> None:
    """Bring the database at `url` to `HEAD`; several processes may do so at once, one does the work."""
    records = Records(url)
    try:
        if _revision(records) != HEAD:
            _upgrade(records)
    finally:
        records.close()


def _revision(records: Records) -> str | None:
    with records.read() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return revision


def _upgrade(records: Records) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    with records.begin() as connection:
        if connection.dialect.name == "postgresql":  # SQLite's transaction is a lock by itself
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise DatabaseTooNew(
                f"the database is of a version of posneg that this one, at {HEAD}, does not know: {error}"
            ) from error
    log.info("database migrated", revision=HEAD)
