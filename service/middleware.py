"""What happens to every request, as plain ASGI: id, log line, metrics, and the limit of its body."""

import re
import time
import uuid
from http import HTTPStatus

import anyio
import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from posneg.service import metrics
from posneg.service.errors import BadRequest, TooLarge
from posneg.service.problems import answer, kind_of
from posneg.service.settings import Settings

log = structlog.get_logger()
HARDENING = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'"),
)
"""A browser takes nothing for a page that is not sent as one, and loads nothing from elsewhere."""
SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
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
        sent = _header(scope, b"x-request-id") or b""
        request_id = sent.decode() if SANE_ID.fullmatch(sent) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = ((b"x-request-id", request_id.encode()), *HARDENING)
                message["headers"] = [*message.get("headers", ()), *own]
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
    """Refuses a body above its route's limit: at once where a length is declared, else when it gets there."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.limits_mib = {"max_body_mib": settings.max_body_mib, "max_upload_mib": settings.max_upload_mib}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or answer."""
        if scope["type"] != "http" or not _has_body(scope):
            await self.app(scope, receive, send)
            return
        name = "max_upload_mib" if _is_upload(scope) else "max_body_mib"
        limit = self.limits_mib[name]
        refusal = TooLarge(f"the body is larger than {name} = {limit} MiB; GET /v1/limits lists every limit")
        body = _Body(receive, send, limit * 2**20, refusal)
        declared = _header(scope, b"content-length")
        if declared is not None and not declared.isdigit():
            await _refuse(BadRequest("Content-Length is no number"), scope, body)
        elif declared is not None and int(declared) > body.limit_bytes:
            await _refuse(refusal, scope, body)
        else:
            await self.app(scope, body.receive, body.send)


class Explained:
    """Turns a failure that a library answered in plain text into a problem like every other."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and answer anew where that is needed."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        held: Message | None = None

        async def send_explained(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and message["status"] >= 400 and _is_text(message):
                held = message
            elif held is None:
                await send(message)
            elif not message.get("more_body", False):
                text = message.get("body", b"").decode() or HTTPStatus(held["status"]).phrase
                error = kind_of(held["status"])(text, headers=_kept(held))
                response = answer(error, path=scope["path"], request_id=scope["state"]["request_id"])
                await response(scope, receive, send)

        await self.app(scope, receive, send_explained)


class _Body:
    """Counts what comes of a body, and takes what nobody read of it before the answer ends.

    That rest is thrown away piece by piece. A server that closes a socket with unread bytes in it resets the
    connection, and the caller sees the reset instead of the answer.
    """

    def __init__(self, receive: Receive, send: Send, limit_bytes: int, refusal: TooLarge) -> None:
        self._receive = receive
        self._send = send
        self.limit_bytes = limit_bytes
        self.refusal = refusal
        self.received_bytes = 0
        self.unread = True

    async def receive(self) -> Message:
        message = await self._receive()
        self.received_bytes += len(message.get("body", b""))
        self.unread = message.get("more_body", False)
        if self.received_bytes > self.limit_bytes:
            raise self.refusal
        return message

    async def send(self, message: Message) -> None:
        ends = message["type"] == "http.response.body" and not message.get("more_body", False)
        if not (ends and self.unread):
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        with anyio.move_on_after(LINGER_S):
            while (await self._receive()).get("more_body", False):
                pass
        await self._send({"type": "http.response.body", "body": b""})


async def _refuse(error: BadRequest | TooLarge, scope: Scope, body: _Body) -> None:
    response = answer(error, path=scope["path"], request_id=scope["state"]["request_id"])
    MutableHeaders(raw=response.raw_headers)["Connection"] = "close"
    await response(scope, body.receive, body.send)


def _is_upload(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] == "PUT" and path.startswith(UPLOADS)


def _is_text(message: Message) -> bool:
    return any(k == b"content-type" and v.startswith(b"text/plain") for k, v in message["headers"])


def _kept(message: Message) -> dict[str, str]:
    """The headers of an answer that are not about the form of its body."""
    own = {k.decode(): v.decode() for k, v in message["headers"]}
    return {k: v for k, v in own.items() if k not in ("content-type", "content-length")}


def _has_body(scope: Scope) -> bool:
    return _header(scope, b"content-length") is not None or _header(scope, b"transfer-encoding") is not None


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


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
