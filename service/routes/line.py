"""What takes its time runs in threads of its own: so many requests at once, and a bounded line of others."""

from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import orjson
from anyio import CapacityLimiter
from fastapi import Request, Response

from posneg.service.errors import TooManyRequests, UnsupportedMediaType
from posneg.service.routes.body import encoding_of, inflate, read_body
from posneg.service.schemas.decoding import decode
from posneg.service.settings import Settings

JSON = "application/json"
WAITING_A_PLACE = 8
"""Requests that may wait for each that is being answered: their bodies are in memory."""

T = TypeVar("T")


class Line:
    """Some run at once in threads of their own, some more wait, the rest are told to come back."""

    def __init__(self, places: int) -> None:
        self.limiter = CapacityLimiter(places)
        self.max_waiting = places * WAITING_A_PLACE

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`; raises `TooManyRequests` where the line is full."""
        waiting = self.limiter.statistics().tasks_waiting
        if waiting >= self.max_waiting:
            raise TooManyRequests(f"{waiting} requests are waiting already; retry later", retry_after_s=1)
        return await anyio.to_thread.run_sync(work, limiter=self.limiter)


def line_of(request: Request, settings: Settings) -> Line:
    """The line of this app, made on the first request, since limiters belong to an event loop."""
    state = request.app.state
    if not hasattr(state, "loss_line"):
        state.loss_line = Line(settings.max_concurrent_losses)
    line = state.loss_line
    assert isinstance(line, Line)
    return line


async def answer_json(request: Request, settings: Settings, work: Callable[[Any], Any]) -> Response:
    """What `work` makes of the JSON as sent, in the line; raises `UnsupportedMediaType` for other kinds."""
    content_type = request.headers.get("content-type", JSON)
    if not is_json(content_type):
        raise UnsupportedMediaType(f"Content-Type {content_type[:60]!r} is not {JSON}")
    encoding, limit = encoding_of(request), settings.max_body_mib * 2**20
    body = await read_body(request, limit)

    def run() -> bytes:
        return orjson.dumps(work(decode(inflate(body, encoding, limit))))

    return Response(await line_of(request, settings).run(run), media_type=JSON)


def is_json(content_type: str) -> bool:
    """Whether a `Content-Type` is JSON, or one of the kinds that are written as JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == JSON or kind.endswith("+json")
