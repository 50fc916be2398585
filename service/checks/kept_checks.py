"""The last checks, by id: what was found, as JSON that every form of a report is made of."""

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from posneg.service.errors import InvalidRequest, NotFound
from posneg.service.records import Records, checks
from posneg.service.schemas.pages import Window
from posneg.service.schemas.pages import page as paged

KEPT = 1000
"""Checks that are remembered; older ones are forgotten."""
MAX_SEQUENCE = 2**31 - 1


def keep(records: Records, check_id: str, baseline: str | None, report: Mapping[str, Any]) -> None:
    """Remember a report, once: an id that is known keeps what it has."""
    with records.begin() as connection:
        if connection.scalar(sa.select(checks.c.id).where(checks.c.id == check_id)) is not None:
            return
        connection.execute(
            checks.insert().values(
                id=check_id,
                baseline=baseline,
                verdict=report["verdict"],
                report=dict(report),
                created_at=time.time(),
            )
        )
        newest = sa.select(sa.func.max(checks.c.sequence)).scalar_subquery()
        connection.execute(checks.delete().where(checks.c.sequence <= newest - KEPT))


def get(records: Records, check_id: str) -> dict[str, Any]:
    """A check with all that it found."""
    with records.read() as connection:
        found = connection.execute(checks.select().where(checks.c.id == check_id)).mappings().one_or_none()
    if found is None:
        raise NotFound(f"there is no check {check_id[:40]!r}; GET /v1/checks lists the last {KEPT}")
    row = dict(found)
    return {**_view(row), **row["report"]}


def page(records: Records, window: Window) -> dict[str, Any]:
    """The last checks in short, the newest first."""
    columns = [column for column in checks.c if column.name != "report"]
    wanted = sa.select(*columns).order_by(checks.c.sequence.desc()).limit(window.limit + 1)
    if window.after is not None:
        wanted = wanted.where(checks.c.sequence < _sequence(window.after))
    with records.read() as connection:
        rows: list[Mapping[str, Any]] = [*connection.execute(wanted).mappings()]
    return paged(rows, window, cursor=lambda row: str(row["sequence"]), show=_view)


def _view(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "baseline": row["baseline"],
        "verdict": row["verdict"],
        "created_at": row["created_at"],
        "links": {"self": f"/v1/checks/{row['id']}"},
    }


def _sequence(cursor: str) -> int:
    if cursor.isascii() and cursor.isdigit() and len(cursor) <= 10 and int(cursor) <= MAX_SEQUENCE:
        return int(cursor)
    raise InvalidRequest.at("/query/after", f"{cursor[:40]!r} is not the `next` of a page", "invalid_cursor")
