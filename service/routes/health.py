"""Whether the service lives and whether it can serve."""

from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter

from posneg.service import records as tables
from posneg.service.errors import Unavailable
from posneg.service.jobs import clock
from posneg.service.routes.dependencies import RecordsDep, SettingsDep

router = APIRouter(tags=["service"])


@router.get("/livez")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def ready(records: RecordsDep, settings: SettingsDep) -> dict[str, Any]:
    """The database answers; how many workers were heard of lately is told, but none is needed to be ready."""
    try:
        with records.read() as connection:
            now = clock.read(connection)
            beats = connection.scalars(sa.select(tables.workers.c.beat_at)).all()
    except sa.exc.SQLAlchemyError as error:
        raise Unavailable("the database does not answer") from error
    alive = sum(now - beat < settings.lease_s for beat in beats)
    return {"status": "ok", "checks": {"database": "ok", "workers": alive}}
