"""Requests that create: sent twice with one `Idempotency-Key`, they act once, whatever dies between."""

import hashlib
import time
import uuid
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from starlette.responses import Response

from posneg.service.errors import Conflict, InvalidRequest
from posneg.service.records import Records, idempotency

CLAIM_S = 60.0
"""A request that has not finished for so long died with its process; the next one takes over."""
KEPT_S = 30 * 86400.0
REPLAYED = "Idempotent-Replayed"


def once(
    records: Records, *, route: str, key: str | None, body: bytes, act: Callable[[str], Response]
) -> Response:
    """The answer of `act`, or the stored one if `key` was answered already; blocks, so call it from a thread.

    `act` gets an id (a UUID as text) for what it creates, the same for the same `route` and `key`: should
    the process die between acting and remembering, the next attempt finds the thing under that id and makes
    no second one. An exception of `act` frees the key, so that a corrected request may use it again.
    """
    if key is None:
        return act(str(uuid.uuid4()))
    digest = hashlib.sha256(body).hexdigest()
    claim = _claim(records, route, key, digest)
    if isinstance(claim, Response):
        return claim
    try:
        response = act(str(uuid.uuid5(uuid.NAMESPACE_URL, f"{route}#{key}")))
    except BaseException:
        _release(records, route, key, claim)
        raise
    _remember(records, route, key, claim, response)
    return response


def forget_old(records: Records) -> None:
    """Drop the answers that are older than anybody retries."""
    with records.begin() as connection:
        connection.execute(idempotency.delete().where(idempotency.c.created_at < time.time() - KEPT_S))


def _claim(records: Records, route: str, key: str, digest: str) -> Response | float:
    """The stored answer, or the time of the claim that this request now holds."""
    now = time.time()
    fresh = {"key": key, "route": route, "body_sha256": digest, "created_at": now}
    with records.begin() as connection:
        insert = _insert_unless_there(records).values(fresh).returning(idempotency.c.key)
        if connection.execute(insert).first() is not None:
            return now
        row = connection.execute(idempotency.select().where(*_is(route, key)).with_for_update()).first()
        if row is not None and row.body_sha256 != digest:
            raise InvalidRequest.at(
                "",
                f"Idempotency-Key {key!r} was used with another body; take a new key for a new request",
                "idempotency_key_reused",
            )
        if row is not None and row.status is not None:
            return Response(row.body, row.status, {**row.headers, REPLAYED: "true"})
        if row is None or now - row.created_at < CLAIM_S:  # None: freed between the two statements
            raise Conflict(
                f"the first request with Idempotency-Key {key!r} is still being answered; retry",
                headers={"Retry-After": "1"},
            )
        connection.execute(idempotency.update().where(*_is(route, key)).values(created_at=now))
        return now


def _insert_unless_there(records: Records) -> Any:  # noqa: ANN401 - each dialect has its own insert
    if records.engine.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    return insert(idempotency).on_conflict_do_nothing()


def _remember(records: Records, route: str, key: str, claim: float, response: Response) -> None:
    headers = {k: v for k, v in response.headers.items() if k != "content-length"}
    with records.begin() as connection:
        connection.execute(
            idempotency.update()
            .where(*_is(route, key), idempotency.c.created_at == claim)
            .values(status=response.status_code, headers=headers, body=bytes(response.body))
        )


def _release(records: Records, route: str, key: str, claim: float) -> None:
    with records.begin() as connection:
        connection.execute(idempotency.delete().where(*_is(route, key), idempotency.c.created_at == claim))


def _is(route: str, key: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return idempotency.c.route == route, idempotency.c.key == key
