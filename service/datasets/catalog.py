"""What the database knows of data sets: one row a name, bytes by their hash; `shapes` is always there."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from posneg.models.data import shapes
from posneg.service.datasets.intake import Prepared, summary
from posneg.service.errors import Conflict, InvalidRequest, NotFound
from posneg.service.records import Records, datasets, jobs
from posneg.service.schemas.pages import Window, page_of_sorted
from posneg.service.store import Store

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
ENDED = ("succeeded", "failed", "cancelled")
Check = Callable[[str | None], None]
"""Raises if the version that is kept now, None for none, is not the one that the caller means."""


def writable_name(name: str) -> str:
    """`name` if a data set may be put there or deleted."""
    if not NAME.fullmatch(name):
        rule = "lower-case letters, digits, '.', '_' and '-', the first a letter or digit, at most 128"
        raise InvalidRequest.at("/path/name", f"{name[:140]!r} is no name: {rule}", "invalid_name")
    if name == shapes.NAME:
        raise Conflict(f"{name!r} is generated and always there; choose another name")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What came of a put: the view, whether the name is new, the hash of bytes that are gone by now."""

    view: dict[str, Any]
    created: bool
    gone: str | None


def put(records: Records, store: Store, name: str, prepared: Prepared, check: Check) -> Kept:
    """Keep a data set under a name; the same again changes nothing."""
    try:
        return _put(records, store, name, prepared, check)
    except sa.exc.IntegrityError:  # another caller has just taken the name, so this one replaces
        return _put(records, store, name, prepared, check)


def _put(records: Records, store: Store, name: str, prepared: Prepared, check: Check) -> Kept:
    sha256 = store.put_file(prepared.archive)
    etag = hashlib.sha256(json.dumps([sha256, prepared.summary]).encode()).hexdigest()
    now, gone = time.time(), None
    with records.begin() as connection:
        row = _row(connection, name, lock=True)
        check(None if row is None else row["etag"])
        values = {"etag": etag, "sha256": sha256, "summary": prepared.summary, "updated_at": now}
        if row is None:
            connection.execute(datasets.insert().values(name=name, created_at=now, **values))
        elif row["etag"] != etag:
            _require_unused(connection, name)
            connection.execute(datasets.update().where(datasets.c.name == name).values(**values))
            gone = _forget_bytes(connection, store, row["sha256"])
        if not store.exists(sha256):  # deleted with another data set since they were found to be there
            store.put_file(prepared.archive)
        kept = _row(connection, name)
        assert kept is not None
    return Kept(view=view(kept), created=row is None, gone=gone)


def delete(records: Records, store: Store, name: str, check: Check) -> str | None:
    """Forget a data set and, unless another one has the same, its bytes; their hash if they are gone."""
    with records.begin() as connection:
        row = _row(connection, name, lock=True)
        check(None if row is None else row["etag"])
        if row is None:
            raise _not_found(name)
        _require_unused(connection, name)
        connection.execute(datasets.delete().where(datasets.c.name == name))
        return _forget_bytes(connection, store, row["sha256"])


def get(records: Records, name: str) -> dict[str, Any]:
    """The view of a data set, issues and all."""
    if name == shapes.NAME:
        return view(generated())
    return view(row(records, name))


def version(records: Records, name: str) -> str | None:
    """The version that is kept now; None where there is no such data set."""
    with records.read() as connection:
        return connection.scalar(sa.select(datasets.c.etag).where(datasets.c.name == name))


def row(records: Records, name: str) -> Mapping[str, Any]:
    """The row of a data set that was put here."""
    with records.read() as connection:
        found = _row(connection, name)
    if found is None:
        raise _not_found(name)
    return found


def page(records: Records, window: Window) -> dict[str, Any]:
    """Data sets by name, without their issues."""
    wanted = datasets.select().order_by(datasets.c.name).limit(window.limit + 1)
    if window.after is not None:
        wanted = wanted.where(datasets.c.name > window.after)
    with records.read() as connection:
        rows: list[Mapping[str, Any]] = [*connection.execute(wanted).mappings()]
    rows = sorted([*rows, generated()], key=lambda found: str(found["name"]))
    return page_of_sorted(rows, window, name=lambda found: str(found["name"]), show=_short_view)


@cache
def generated() -> Mapping[str, Any]:
    """`shapes` as a row, described without being drawn."""
    return {
        "name": shapes.NAME,
        "etag": f"{shapes.NAME}-{shapes.VERSION}",
        "summary": summary(shapes.describe(Path()), []),
        "created_at": None,
        "updated_at": None,
    }


def view(found: Mapping[str, Any]) -> dict[str, Any]:
    """A row as callers see it."""
    name = found["name"]
    return {
        "name": name,
        "generated": name == shapes.NAME,
        **found["summary"],
        "created_at": found["created_at"],
        "updated_at": found["updated_at"],
        "etag": found["etag"],
        "links": {"self": f"/v1/datasets/{name}"},
    }


def _short_view(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in view(found).items() if key != "issues"}


def _row(connection: sa.Connection, name: str, *, lock: bool = False) -> Mapping[str, Any] | None:
    wanted = datasets.select().where(datasets.c.name == name)
    found = connection.execute(wanted.with_for_update() if lock else wanted).mappings().one_or_none()
    return None if found is None else dict(found)


def _require_unused(connection: sa.Connection, name: str) -> None:
    """Raise while a job that has not ended is to train on it: it would find other data, or none."""
    at_work = connection.execute(sa.select(jobs.c.id, jobs.c.spec).where(jobs.c.state.not_in(ENDED)))
    for job_id, spec in at_work:
        if spec.get("dataset") == name:
            raise Conflict(f"job {job_id} uses {name!r}; wait for its end or cancel it, then try again")


def _forget_bytes(connection: sa.Connection, store: Store, sha256: str) -> str | None:
    others = sa.select(sa.func.count()).where(datasets.c.sha256 == sha256)
    if connection.scalar(others):
        return None
    store.delete(sha256)
    return sha256


def _not_found(name: str) -> NotFound:
    return NotFound(f"there is no data set {name[:140]!r}; GET /v1/datasets lists them")
