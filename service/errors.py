"""What can go wrong, as kinds to raise below the routes; the app renders them once, as RFC 9457 problems."""

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One bad element of a request: where, what, and a code that programs can tell apart."""

    pointer: str
    detail: str
    code: str


class ServiceError(Exception):
    """Raise a subclass; its message tells the caller what was wrong and what to do."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        faults: list[Fault] | None = None,
        faults_total: int = 0,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = faults or []
        self.faults_total = max(faults_total, len(self.faults))  # more than are kept, where somebody counted on
        self.headers = headers or {}


class InvalidRequest(ServiceError):
    """The payload is malformed; `faults` points at each bad element."""

    status = 422
    code = "invalid_request"
    title = "Invalid request"

    @classmethod
    def at(cls, pointer: str, detail: str, code: str) -> "InvalidRequest":
        """One bad element."""
        return cls(detail, faults=[Fault(pointer, detail, code)])


class InvalidJson(InvalidRequest):
    """The body is no JSON; the message names line and column."""

    code = "invalid_json"
    title = "Not JSON"


class BadRequest(ServiceError):
    """The request cannot be read at all."""

    status = 400
    code = "bad_request"
    title = "Bad request"


class Unauthorized(ServiceError):
    """No key, or one that is not known."""

    status = 401
    code = "unauthorized"
    title = "Unauthorized"


class NotFound(ServiceError):
    """There is no such thing."""

    status = 404
    code = "not_found"
    title = "Not found"


class MethodNotAllowed(ServiceError):
    """The thing is there, but does not take this method."""

    status = 405
    code = "method_not_allowed"
    title = "Method not allowed"


class Conflict(ServiceError):
    """The thing's state does not allow it."""

    status = 409
    code = "conflict"
    title = "Conflict"


class PreconditionFailed(ServiceError):
    """`If-Match` names another version than the one that is kept."""

    status = 412
    code = "precondition_failed"
    title = "Precondition failed"


class TooLarge(ServiceError):
    """Larger than a limit; the message says which."""

    status = 413
    code = "too_large"
    title = "Too large"


class UnsupportedMediaType(ServiceError):
    """A content type or encoding that is not read here."""

    status = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"


class TooManyRequests(ServiceError):
    """Busy; the answer carries Retry-After."""

    status = 429
    code = "too_many_requests"
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class Unavailable(ServiceError):
    """Not now: something that this needs is not there."""

    status = 503
    code = "unavailable"
    title = "Unavailable"


def problem(error: ServiceError, request_id: str) -> dict[str, Any]:
    """The RFC 9457 body of any failure; at most 100 faults are listed, with their number."""
    body: dict[str, Any] = {
        "type": f"/problems/{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    if error.faults:
        body["errors"] = [
            {"pointer": f.pointer, "detail": f.detail, "code": f.code} for f in error.faults[:100]
        ]
        body["errors_total"] = error.faults_total
    return body
