"""The database's clock: the one time that all machines agree on."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class now(FunctionElement[float]):  # noqa: N801 - reads as the SQL function that it is
    """Seconds since 1970, at the moment when the statement runs."""

    type = sa.Float()
    inherit_cache = True
    name = "posneg_now"


@compiles(now, "sqlite")
def _sqlite(*_: Any, **__: Any) -> str:  # noqa: ANN401 - the compiler's own
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgres(*_: Any, **__: Any) -> str:  # noqa: ANN401 - the compiler's own
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


def read(connection: sa.Connection) -> float:
    """The database's time, seconds since 1970."""
    return float(connection.execute(sa.select(now())).scalar_one())
