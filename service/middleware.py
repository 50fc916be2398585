"""What happens to every request, as plain ASGI: id, log line, metrics, and the limit of its body."""

import re
import time
import uuid

import anyio
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from posneg.service import metrics
from posneg.service.errors import BadRequest, TooLarge
from posneg.service.problems import answer
from posneg.service.settings import Settings

log = structlog.get_logger("posneg.access")
SANE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
UPLOADS = ("/v1/datasets/", "/v1/models/")
LINGER_S = 30.0


class Observed:
    """Gives each request its id, counts and times it, and writes one line about it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on and watch."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        started = time.perf_counter()
        metrics.IN_FLIGHT.inc()
        try:
            with structlog.contextvars.bound_contextvars(request_id=request_id):
                await self.app(scope, receive, send_with_id)
        finally:
            metrics.IN_FLIGHT.dec()
            _report(scope, status, time.perf_counter() - started, request_id)


class BodyLimited:
    """Refuses a body above its route's limit: at once where the length is declared, else on reaching it."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.max_body_mib = settings.max_body_mib
        self.max_upload_mib = settings.max_upload_mib

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or answer 413."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        upload = scope["method"] == "PUT" and scope["path"].startswith(UPLOADS)
        name = "max_upload_mib" if upload else "max_body_mib"
        limit = getattr(self, name) * 2**20
        error = TooLarge(f"the body is larger than {name} = {getattr(self, name)} MiB; GET /v1/limits")
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal():
            await _refuse(BadRequest(f"Content-Length {declared!r} is no number"), scope, receive, send)
            return
        if int(declared) > limit:
            await _refuse(error, scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise error
            return message

        await self.app(scope, receive_counted, send)


async def _refuse(error: BadRequest | TooLarge, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer, then take the rest of the body without keeping it.

    A server that closes a socket with unread bytes resets the connection, and the caller never sees why.
    """
    response = answer(error, path=scope["path"], request_id=scope["state"]["request_id"])
    response.headers["Connection"] = "close"
    await send(
        {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
    )
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with anyio.move_on_after(LINGER_S):
        while (await receive()).get("more_body", False):
            pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _request_id(scope: Scope) -> str:
    sent = Headers(scope=scope).get("x-request-id", "")
    return sent if SANE_ID.fullmatch(sent) else uuid.uuid4().hex


def _report(scope: Scope, status: int, seconds: float, request_id: str) -> None:
    route = getattr(scope.get("route"), "path", "unmatched")
    method = scope["method"]
    metrics.REQUESTS.labels(route, method, status).inc()
    metrics.LATENCY.labels(route, method).observe(seconds)
    log.info(
        "request",
        method=method,
        path=scope["path"],
        status=status,
        ms=round(seconds * 1000, 2),
        request_id=request_id,
    )
