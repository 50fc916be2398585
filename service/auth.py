"""Keys: who may call, and where no key is needed."""

import hashlib
import hmac
import ipaddress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from posneg.service.errors import Unauthorized
from posneg.service.problems import answer
from posneg.service.settings import Settings

OPEN = frozenset({"/livez", "/readyz"})
OPEN_BELOW = "/problems/"  # an error's type leads there, that of a missing key too


class Authorized:
    """Lets a request pass that carries a known key, that needs none, or where there are no keys."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.digests = [_digest(key) for key in settings.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or answer 401."""
        if scope["type"] == "lifespan" or not self.digests or _is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        sent = Headers(scope=scope).get("authorization", "")
        if self._knows(sent):
            await self.app(scope, receive, send)
            return
        said = "that key is not known" if sent else "no key was sent"
        error = Unauthorized(
            f"{said}; send Authorization: Bearer <key>", headers={"WWW-Authenticate": 'Bearer realm="posneg"'}
        )
        response = answer(error, path=scope["path"], request_id=scope["state"]["request_id"])
        await response(scope, receive, send)

    def _knows(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return False
        # Digests have one length, so that not even the length of a key shows in the time taken.
        sent = _digest(key.strip())
        return sum(hmac.compare_digest(sent, known) for known in self.digests) > 0


def refusal(settings: Settings) -> str | None:
    """Why the service must not start with these settings; None where it may."""
    if settings.keys or settings.insecure or _is_loopback(settings.host):
        return None
    return (
        f"refusing to listen on {settings.host} without a key: anybody who reaches it could use it. "
        "Set POSNEG_API_KEYS, listen on 127.0.0.1, or say --insecure."
    )


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_BELOW)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
