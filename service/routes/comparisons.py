"""Two runs in; out comes what moved, and why."""

from typing import Any

from fastapi import APIRouter, Request, Response

from posneg.service.routes.dependencies import SettingsDep
from posneg.service.routes.line import JSON, answer_json
from posneg.service.schemas.comparison import (
    ANSWER_EXAMPLE,
    EXAMPLE,
    ComparisonAnswer,
    ComparisonRequest,
    interpret_comparison,
)
from posneg.service.schemas.loss_request import inlined_schema

router = APIRouter(tags=["losses"])
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": inlined_schema(ComparisonRequest), "example": EXAMPLE}},
    }
}


@router.post(
    "/v1/comparisons",
    responses={200: {"model": ComparisonAnswer, "content": {JSON: {"example": ANSWER_EXAMPLE}}}},
    openapi_extra=BODY,
)
async def compare_runs(request: Request, settings: SettingsDep) -> Response:
    """What moved between two runs and why: flips, each term's move by ingredient, what changed."""

    def work(document: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
        compared = interpret_comparison(document)
        from posneg.service.checks.sides import compare_sides  # torch takes seconds to import

        return compare_sides(compared, max_pairs=settings.max_pairs)

    return await answer_json(request, settings, work)
