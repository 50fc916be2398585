"""The one rendering of failures: RFC 9457 problems; below `/v2` `{"error": text}`, as its clients expect."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from posneg.service.errors import (
    BadRequest,
    Fault,
    InvalidJson,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RangeNotSatisfiable,
    ServiceError,
    TooLarge,
    Unauthorized,
    UnsupportedMediaType,
    problem,
)

log = structlog.get_logger()
STANDARD = {
    kind.status: kind
    for kind in (
        BadRequest,
        Unauthorized,
        NotFound,
        MethodNotAllowed,
        TooLarge,
        UnsupportedMediaType,
        RangeNotSatisfiable,
    )
}
"""The kind of each status that the framework answers by itself."""


def kind_of(status: int) -> type[ServiceError]:
    """The kind of problem that a bare status stands for."""
    return STANDARD.get(status, ServiceError if status >= 500 else BadRequest)


def answer(error: ServiceError, *, path: str, request_id: str) -> Response:
    """The response that tells the caller of `error`."""
    if path.startswith("/v2/") or path == "/v2":
        content: dict[str, Any] = {"error": error.detail}
        media_type = "application/json"
    else:
        content = problem(error, request_id)
        media_type = "application/problem+json"
    # What callers sent is quoted, halves of surrogate pairs too, which are no UTF-8.
    body = json.dumps(content, ensure_ascii=False).encode(errors="replace")
    return Response(body, status_code=error.status, headers=error.headers, media_type=media_type)


def install(app: FastAPI) -> None:
    """Render every failure of `app`, the framework's own included."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unexpected)


def _answer(request: Request, error: ServiceError) -> Response:
    return answer(error, path=request.url.path, request_id=request.scope["state"]["request_id"])


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    if error.status >= 500:
        log.error("request failed", code=error.code, detail=error.detail, exc_info=error)
    return _answer(request, error)


async def _http_exception(request: Request, error: Exception) -> Response:
    """Starlette's and FastAPI's own; what the reading of the body raised is found behind theirs."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, ServiceError):
        return _answer(request, error.__cause__)
    detail = str(error.detail)
    if error.status_code in (404, 405):
        detail = f"{request.method} {request.url.path}: {detail.lower()}; /openapi.json lists what there is"
    return _answer(request, kind_of(error.status_code)(detail, headers=dict(error.headers or {})))


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if found[0]["type"] == "json_invalid":
        return _answer(request, InvalidJson(f"the body is no JSON: {found[0]['ctx']['error']}"))
    faults = [Fault(_pointer(f["loc"], f["type"], error.body), _detail(f), f["type"]) for f in found]
    number = f"{len(faults)} elements are" if len(faults) > 1 else "one element is"
    return _answer(request, InvalidRequest(f"{number} wrong: {faults[0].detail}", faults=faults))


async def _unexpected(request: Request, error: Exception) -> Response:
    """A bug of ours: the log has everything, the caller the id to ask for."""
    request_id = request.scope["state"]["request_id"]
    log.error("unexpected exception", path=request.url.path, request_id=request_id, exc_info=error)
    response = _answer(
        request, ServiceError("something broke here; the log has the cause under this request_id")
    )
    # Starlette answers these outside of every middleware, so the header is not added there.
    response.headers["X-Request-Id"] = request_id
    return response


def _detail(fault: Mapping[str, Any]) -> str:
    where = fault["loc"][0]
    message = str(fault["msg"])
    if where == "body":
        return message
    return f"{where} parameter {fault['loc'][-1]!r}: {message}"


def _pointer(loc: Sequence[str | int], kind: str, body: object) -> str:
    """The JSON pointer of a pydantic location, without the union tags that it carries besides keys."""
    if loc[0] != "body":
        return _joined(loc)
    path: list[str | int] = []
    here = body
    for position, step in enumerate(loc[1:], start=2):
        inside = _element(here, step)
        if inside is not None:
            path.append(step)
            here = inside[0]
        elif kind == "missing" and position == len(loc):
            path.append(step)
    return _joined(path)


def _element(container: object, step: str | int) -> tuple[object] | None:
    """What lies at `step`, in a tuple because it may be None; None where there is no such step."""
    if isinstance(container, dict) and step in container:
        return (container[step],)
    if isinstance(container, list) and isinstance(step, int) and 0 <= step < len(container):
        return (container[step],)
    return None


def _joined(path: Sequence[str | int]) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
