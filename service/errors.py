"""What can go wrong, as kinds to raise below the routes; the app renders them once, as RFC 9457 problems."""

from dataclasses import dataclass
from typing import Any, ClassVar

MAX_FAULTS = 100
"""Bad elements that one problem names."""


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
    meaning: ClassVar[str] = (
        "A mistake of the service, not of the request. Retrying may help; if it does not, report "
        "`request_id`: the log has the cause under it."
    )

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
        # More than are kept, where somebody counted on.
        self.faults_total = max(faults_total, len(self.faults))
        self.headers = headers or {}


class InvalidRequest(ServiceError):
    """The payload is malformed; `faults` points at each bad element."""

    status = 422
    code = "invalid_request"
    title = "Invalid request"
    meaning = (
        "The request was read, but its content cannot be used. `errors` names each bad element by a JSON "
        "pointer into the body (for parameters: `/query/...`, `/path/...`, `/header/...`), at most 100, "
        "and `errors_total` how many there are. Correct them; the same request will fail again."
    )

    @classmethod
    def at(cls, pointer: str, detail: str, code: str) -> "InvalidRequest":
        """One bad element."""
        return cls(detail, faults=[Fault(pointer, detail, code)])


class InvalidJson(InvalidRequest):
    """The body is no JSON; the message names line and column."""

    code = "invalid_json"
    title = "Not JSON"
    meaning = (
        "The body is not JSON, or its encoding is not UTF-8. `detail` names line and column. `NaN` and "
        "`Infinity` are read where numbers are data."
    )


class BadRequest(ServiceError):
    """The request cannot be read at all."""

    status = 400
    code = "bad_request"
    title = "Bad request"
    meaning = (
        "The request cannot be read at all: a broken header, multipart boundary or compressed body. "
        "`detail` says which."
    )


class Unauthorized(ServiceError):
    """No key, or one that is not known."""

    status = 401
    code = "unauthorized"
    title = "Unauthorized"
    meaning = (
        "The service asks for a key: send `Authorization: Bearer <key>` with one of those that its "
        "operator set as `POSNEG_API_KEYS`. `/livez`, `/readyz` and these pages need none."
    )


class NotFound(ServiceError):
    """There is no such thing."""

    status = 404
    code = "not_found"
    title = "Not found"
    meaning = (
        "Nothing has that address or name. `/openapi.json` lists the addresses, the `GET` of a "
        "collection the names."
    )


class BaselineMissing(NotFound):
    """A case of a check that was never recorded."""

    code = "baseline_missing"
    title = "Baseline missing"
    meaning = "There is nothing to compare with yet. Record the case first, as `posneg record` does."


class MethodNotAllowed(ServiceError):
    """The thing is there, but does not take this method."""

    status = 405
    code = "method_not_allowed"
    title = "Method not allowed"
    meaning = "The address is right, the method is not; `Allow` lists those that are taken."


class Conflict(ServiceError):
    """The thing's state does not allow it."""

    status = 409
    code = "conflict"
    title = "Conflict"
    meaning = (
        "The thing exists, but its state does not allow this: a job that still runs is not deleted, a "
        "request whose first copy is still being answered is not repeated. Where waiting helps, "
        "`Retry-After` says how long."
    )


class BaselineIncompatible(Conflict):
    """A baseline in a format that this version does not read."""

    code = "baseline_incompatible"
    title = "Baseline incompatible"
    meaning = "The baseline was written in a format that this version does not read. Record it again."


class PreconditionFailed(ServiceError):
    """`If-Match` names another version than the one that is kept."""

    status = 412
    code = "precondition_failed"
    title = "Precondition failed"
    meaning = (
        "`If-Match` names a version that is not the one kept: somebody changed it meanwhile. Read it "
        "again, look at the change, and retry with its new `ETag`."
    )


class TooLarge(ServiceError):
    """Larger than a limit; the message says which."""

    status = 413
    code = "too_large"
    title = "Too large"
    meaning = (
        "Larger than one of the limits that `GET /v1/limits` lists; `detail` says which. Send less at a "
        "time, or have the operator raise it."
    )


class UnsupportedMediaType(ServiceError):
    """A content type or encoding that is not read here."""

    status = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"
    meaning = (
        "The `Content-Type` or `Content-Encoding` is none that this address reads; `detail` lists those "
        "that it does."
    )


class RangeNotSatisfiable(ServiceError):
    """A part of a file is asked for that it does not have."""

    status = 416
    code = "range_not_satisfiable"
    title = "Range not satisfiable"
    meaning = (
        "`Range` asks for bytes beyond the end of the file; `Content-Range` says how long it is. Without "
        "`Range` the whole file is sent."
    )


class TooManyRequests(ServiceError):
    """Busy; the answer carries Retry-After."""

    status = 429
    code = "too_many_requests"
    title = "Too many requests"
    meaning = "More requests than are taken at once. Wait for as long as `Retry-After` says, then retry."

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class NotSupported(ServiceError):
    """Part of a protocol that this service leaves out."""

    status = 501
    code = "not_supported"
    title = "Not supported"
    meaning = "The protocol knows this, and the service does not offer it. Retrying does not help."


class Unavailable(ServiceError):
    """Not now: something that this needs is not there."""

    status = 503
    code = "unavailable"
    title = "Unavailable"
    meaning = (
        "Something that this needs is not there now: the database, a model that is still loading, room "
        "in a queue. Retrying helps, after `Retry-After` where it is sent."
    )


class TrainingFailed(ServiceError):
    """A job's training stopped with an error."""

    code = "training_failed"
    title = "Training failed"
    meaning = (
        "The training of a job stopped with an error: `detail` has it, `log` the last lines that it "
        "printed. Change what it complains of and submit the job again, or resume it once the cause is gone."
    )


class OutOfMemory(ServiceError):
    """A job ran out of memory."""

    code = "out_of_memory"
    title = "Out of memory"
    meaning = (
        "The training of a job needed more memory than the machine or its accelerator has. A smaller "
        "`batch_size` or `input_size` needs less."
    )


class TrainerKilled(ServiceError):
    """A job's process was killed too often."""

    code = "trainer_killed"
    title = "Trainer killed"
    meaning = (
        "The training of a job was killed again and again before it came to its next checkpoint, so it was "
        "given up. The log of its machine may say by whom. `POST /v1/jobs/{id}/resume` tries again."
    )


class WorkerFailed(ServiceError):
    """The worker failed, not the job."""

    code = "worker_failed"
    title = "Worker failed"
    meaning = (
        "The worker that ran a job failed itself, which is no fault of the job: its log says why. "
        "`POST /v1/jobs/{id}/resume` tries again."
    )


def kinds() -> dict[str, type[ServiceError]]:
    """Every kind by its code, in the order of their status: the one table of problems."""
    found = {ServiceError}
    while more := {kind for parent in found for kind in parent.__subclasses__()} - found:
        found |= more
    return {kind.code: kind for kind in sorted(found, key=lambda kind: (kind.status, kind.code))}


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
            {"pointer": f.pointer, "detail": f.detail, "code": f.code} for f in error.faults[:MAX_FAULTS]
        ]
        body["errors_total"] = error.faults_total
    return body
