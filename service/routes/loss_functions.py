"""One loss alone, without matching: values, sum, mean and gradient of the inputs that are sent."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from posneg.models.losses import losses
from posneg.service.errors import NotFound
from posneg.service.routes.dependencies import SettingsDep
from posneg.service.routes.line import JSON, answer_json
from posneg.service.schemas.loss_function import (
    ANSWER_EXAMPLE,
    EXAMPLE,
    LossFunctionAnswer,
    LossFunctionRequest,
)
from posneg.service.schemas.loss_request import inlined_schema

router = APIRouter(tags=["losses"])
Name = Annotated[
    str,
    Path(
        description="One of those that GET /v1/loss-functions lists.",
        json_schema_extra={"enum": list(losses), "example": "binary_cross_entropy"},
    ),
]
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": inlined_schema(LossFunctionRequest), "example": EXAMPLE}},
    }
}


@router.post(
    "/v1/loss-functions/{name}",
    responses={200: {"model": LossFunctionAnswer, "content": {JSON: {"example": ANSWER_EXAMPLE}}}},
    openapi_extra=BODY,
)
async def evaluate_loss_function(name: Name, request: Request, settings: SettingsDep) -> Response:
    """One value an element, their sum and mean, and the gradient of the sum; no matching, no normalizer."""
    if name not in losses:
        raise NotFound(f"no loss function {name[:60]!r}; known: {', '.join(losses)}")

    def work(document: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
        from posneg.service.engine.loss_function import evaluate  # torch takes seconds to import

        return evaluate(name, document)

    return await answer_json(request, settings, work)
