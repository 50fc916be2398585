"""What a grid of points can reach, from ground truth alone: which boxes no training will ever match."""

from typing import Any

from fastapi import APIRouter, Request, Response

from posneg.service.coverage import coverage
from posneg.service.routes.dependencies import SettingsDep
from posneg.service.routes.line import JSON, answer_json
from posneg.service.schemas.coverage import ANSWER_EXAMPLE, EXAMPLE, CoverageAnswer, CoverageRequest
from posneg.service.schemas.loss_request import inlined_schema

router = APIRouter(tags=["losses"])
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": inlined_schema(CoverageRequest), "example": EXAMPLE}},
    }
}


@router.post(
    "/v1/coverage",
    responses={200: {"model": CoverageAnswer, "content": {JSON: {"example": ANSWER_EXAMPLE}}}},
    openapi_extra=BODY,
)
async def compute_coverage(request: Request, settings: SettingsDep) -> Response:
    """Which boxes have an anchor point strictly inside at each size of the input, and which have none."""
    return await answer_json(request, settings, coverage)
