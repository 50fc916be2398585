"""Ground truth and predictions in; assignment, loss and reasons out."""

from collections.abc import Callable
from typing import Any

import anyio
import orjson
from anyio import CapacityLimiter
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from posneg.service.errors import TooManyRequests, UnsupportedMediaType
from posneg.service.routes.body import encoding_of, inflate, read_body
from posneg.service.routes.dependencies import SettingsDep
from posneg.service.schemas.loss_answer import (
    ASSIGNMENTS_EXAMPLE,
    LOSSES_EXAMPLE,
    AssignmentAnswer,
    LossAnswer,
)
from posneg.service.schemas.loss_input import LossInput
from posneg.service.schemas.loss_request import EXAMPLE, inlined_schema
from posneg.service.schemas.losses import parse, parse_safetensors
from posneg.service.settings import Settings

router = APIRouter(tags=["losses"])
JSON, SAFETENSORS = "application/json", "application/x-safetensors"
WAITING_A_PLACE = 8
"""Requests that may wait for each that is being answered: their bodies are in memory."""

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": inlined_schema(), "example": EXAMPLE},
            SAFETENSORS: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "Columns as tensors called images.<number>.predictions.<column>; "
                    "the rest of the request as JSON in the metadata key `request`.",
                }
            },
        },
    }
}


def _answered(model: type[BaseModel], example: object) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model, "content": {JSON: {"example": example}}}}


@router.post(
    "/v1/assignments", responses=_answered(AssignmentAnswer, ASSIGNMENTS_EXAMPLE), openapi_extra=BODY
)
async def compute_assignments(request: Request, settings: SettingsDep) -> Response:
    """Which prediction answers for which ground truth, and why: a reason for each prediction and each box."""
    return await _answer(request, settings, loss=False)


@router.post("/v1/losses", responses=_answered(LossAnswer, LOSSES_EXAMPLE), openapi_extra=BODY)
async def compute_losses(request: Request, settings: SettingsDep) -> Response:
    """The assignment and the loss, term by term: what positives and negatives pay, down to the prediction."""
    return await _answer(request, settings, loss=True)


class Line:
    """Some run at once in threads of their own, some more wait, the rest are told to come back."""

    def __init__(self, places: int) -> None:
        self.limiter = CapacityLimiter(places)
        self.max_waiting = places * WAITING_A_PLACE

    async def run(self, work: Callable[[], bytes]) -> bytes:
        """The result of `work`; raises `TooManyRequests` where the line is full."""
        waiting = self.limiter.statistics().tasks_waiting
        if waiting >= self.max_waiting:
            raise TooManyRequests(f"{waiting} requests are waiting already; retry later", retry_after_s=1)
        return await anyio.to_thread.run_sync(work, limiter=self.limiter)


async def _answer(request: Request, settings: Settings, *, loss: bool) -> Response:
    parse_body = _parser(request.headers.get("content-type", JSON))
    encoding, limit = encoding_of(request), settings.max_body_mib * 2**20
    body = await read_body(request, limit)

    def work() -> bytes:
        from posneg.service.engine import (
            answer,
        )  # torch takes seconds to import: on the first loss, not before

        parsed = parse_body(inflate(body, encoding, limit))
        return orjson.dumps(answer(parsed, loss=loss, max_pairs=settings.max_pairs))

    return Response(await _line(request, settings).run(work), media_type=JSON)


def _parser(content_type: str) -> Callable[[bytes], LossInput]:
    kind = content_type.partition(";")[0].strip().lower()
    if kind == JSON or kind.endswith("+json"):
        return parse
    if kind == SAFETENSORS:
        return parse_safetensors
    raise UnsupportedMediaType(f"Content-Type {kind[:60]!r} is neither {JSON} nor {SAFETENSORS}")


def _line(request: Request, settings: Settings) -> Line:
    """The line of this app, made on the first request, since limiters belong to an event loop."""
    state = request.app.state
    if not hasattr(state, "loss_line"):
        state.loss_line = Line(settings.max_concurrent_losses)
    line = state.loss_line
    assert isinstance(line, Line)
    return line
