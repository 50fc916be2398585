"""Ground truth and predictions in; assignment, loss and reasons out."""

from collections.abc import Callable
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from posneg.service.errors import UnsupportedMediaType
from posneg.service.routes.body import encoding_of, inflate, read_body
from posneg.service.routes.dependencies import SettingsDep
from posneg.service.routes.line import JSON, is_json, line_of
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
SAFETENSORS = "application/x-safetensors"

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

    return Response(await line_of(request, settings).run(work), media_type=JSON)


def _parser(content_type: str) -> Callable[[bytes], LossInput]:
    if is_json(content_type):
        return parse
    if content_type.partition(";")[0].strip().lower() == SAFETENSORS:
        return parse_safetensors
    raise UnsupportedMediaType(f"Content-Type {content_type[:60]!r} is neither {JSON} nor {SAFETENSORS}")
