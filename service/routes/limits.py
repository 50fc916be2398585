"""Every limit in force, so that nobody has to run into one to learn of it."""

from typing import Any

from fastapi import APIRouter

from posneg.service.coverage import MAX_LISTED
from posneg.service.errors import MAX_FAULTS
from posneg.service.routes.dependencies import MAX_KEY_LENGTH, MAX_PAGE, SettingsDep
from posneg.service.schemas.comparison import MAX_FLIPS, MAX_ROWS, MAX_VARIANTS
from posneg.service.schemas.coverage import MAX_INPUT_SIZES, MAX_STRIDES
from posneg.service.schemas.images import MAX_SCORES
from posneg.service.schemas.labels import MAX_CLASSES
from posneg.service.schemas.loss_agreement import MAX_NUMBERS
from posneg.service.schemas.tensors import MAX_HEADER, MAX_TENSORS
from posneg.service.serving.uploads import MAX_IMAGES
from posneg.service.settings import Settings, unit_of

router = APIRouter(tags=["service"])
FIXED = {
    "max_page": (MAX_PAGE, "rows", "Largest `limit` of a list."),
    "max_idempotency_key": (MAX_KEY_LENGTH, "characters", "Longest `Idempotency-Key`."),
    "max_scores": (
        MAX_SCORES,
        "count",
        "Predictions times classes, of lists and COCO results in one request.",
    ),
    "max_classes": (MAX_CLASSES, "count", "Classes of one request."),
    "max_loss_numbers": (MAX_NUMBERS, "count", "Numbers in all inputs of one loss that is evaluated alone."),
    "max_input_sizes": (MAX_INPUT_SIZES, "count", "Sizes of the input in one request for coverage."),
    "max_strides": (MAX_STRIDES, "count", "Strides in one request for coverage."),
    "max_boxes_listed": (MAX_LISTED, "count", "Unreachable boxes listed for one size; all are counted."),
    "max_variants": (MAX_VARIANTS, "count", "Variants of one comparison."),
    "max_flips": (MAX_FLIPS, "rows", "Flips listed for one pair; `flips_left_out` counts the others."),
    "max_rows": (MAX_ROWS, "rows", "Shares listed for one pair; `rows_left_out` counts the others."),
    "max_tensors": (MAX_TENSORS, "count", "Tensors of one safetensors body."),
    "max_tensors_header": (MAX_HEADER, "bytes", "Header of a safetensors body, the JSON in it included."),
    "max_images": (MAX_IMAGES, "count", "Images of one request to `predict`."),
    "max_errors": (MAX_FAULTS, "count", "Bad elements that one problem names; their number is always told."),
}


@router.get("/v1/limits")
async def list_limits(settings: SettingsDep) -> dict[str, Any]:
    """Every limit in force: value, unit, what it bounds, and the setting that changes it."""
    changeable = {
        name: {
            "value": getattr(settings, name),
            "unit": unit_of(name),
            "description": field.description,
            "setting": f"POSNEG_{name.upper()}",
        }
        for name, field in Settings.model_fields.items()
        if name.startswith("max_")
    }
    fixed = {
        name: {"value": value, "unit": unit, "description": description, "setting": None}
        for name, (value, unit, description) in FIXED.items()
    }
    return {"limits": changeable | fixed}
