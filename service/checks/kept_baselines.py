"""Baselines that the service keeps: one row a name, the file as `posneg record` writes it."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from posneg.service.checks.baseline import Snapshot, dumps
from posneg.service.checks.config import NAME
from posneg.service.errors import BaselineMissing, InvalidRequest
from posneg.service.records import Records, baselines
from posneg.service.schemas.pages import Window
from posneg.service.schemas.pages import page as paged

MAX_NAME = 128
Check = Callable[[str | None], None]
"""Raises if the version that is kept now, None for none, is not the one that the caller means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What came of a put: the view, and whether the name is new."""

    view: dict[str, Any]
    created: bool


def writable_name(name: str) -> str:
    """`name` if a baseline may be kept under it."""
    if len(name) > MAX_NAME or not NAME.fullmatch(name):
        rule = "segments of a-z 0-9 . _ - that start with a letter or digit, joined by /"
        raise InvalidRequest.at(
            "/path/name", f"{name[:140]!r} is no name: {rule}, at most {MAX_NAME} characters", "invalid_name"
        )
    return name


def put(records: Records, name: str, run: Snapshot, check: Check) -> Kept:
    """Keep a run under a name; the same again changes nothing."""
    try:
        return _put(records, name, run, check)
    except sa.exc.IntegrityError:  # another caller has just taken the name, so this one replaces
        return _put(records, name, run, check)


def _put(records: Records, name: str, run: Snapshot, check: Check) -> Kept:
    document = dumps(run)
    etag, now = hashlib.sha256(document.encode()).hexdigest(), time.time()
    values = {"etag": etag, "document": document, "summary": _summary(run), "updated_at": now}
    with records.begin() as connection:
        row = _row(connection, name, lock=True)
        check(None if row is None else row["etag"])
        if row is None:
            connection.execute(baselines.insert().values(name=name, created_at=now, **values))
        elif row["etag"] != etag:
            connection.execute(baselines.update().where(baselines.c.name == name).values(**values))
        kept = _row(connection, name)
        assert kept is not None
    return Kept(view=_view(kept), created=row is None)


def delete(records: Records, name: str, check: Check) -> None:
    """Forget a baseline."""
    with records.begin() as connection:
        row = _row(connection, name, lock=True)
        check(None if row is None else row["etag"])
        if row is None:
            raise _missing(name)
        connection.execute(baselines.delete().where(baselines.c.name == name))


def get(records: Records, name: str) -> Mapping[str, Any]:
    """The row of a baseline, with `document` and `etag`."""
    with records.read() as connection:
        found = _row(connection, name)
    if found is None:
        raise _missing(name)
    return found


def page(records: Records, window: Window) -> dict[str, Any]:
    """Baselines by name, without their documents."""
    columns = [column for column in baselines.c if column.name != "document"]
    wanted = sa.select(*columns).order_by(baselines.c.name).limit(window.limit + 1)
    if window.after is not None:
        wanted = wanted.where(baselines.c.name > window.after)
    with records.read() as connection:
        rows: list[Mapping[str, Any]] = [*connection.execute(wanted).mappings()]
    return paged(rows, window, cursor=lambda row: str(row["name"]), show=_view)


def _summary(run: Snapshot) -> dict[str, Any]:
    return {
        "preset": run.resolved.get("preset"),
        "verdict": run.verdict,
        "total": run.total,
        "terms": {name: term["value"] for name, term in run.terms.items()},
        "counts": run.counts,
    }


def _view(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": row["name"],
        **row["summary"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "etag": row["etag"],
        "links": {"self": f"/v1/baselines/{row['name']}"},
    }


def _row(connection: sa.Connection, name: str, *, lock: bool = False) -> Mapping[str, Any] | None:
    wanted = baselines.select().where(baselines.c.name == name)
    found = connection.execute(wanted.with_for_update() if lock else wanted).mappings().one_or_none()
    return None if found is None else dict(found)


def _missing(name: str) -> BaselineMissing:
    return BaselineMissing(f"there is no baseline {name[:140]!r}; GET /v1/baselines lists them")
