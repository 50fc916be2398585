"""The request that a case stands for, as the bytes that `POST /v1/losses` would be sent."""

import json
from pathlib import Path
from typing import Any

from posneg.service.checks.config import Case
from posneg.service.checks.documents import read_json
from posneg.service.errors import BadRequest


def case_request(case: Case, folder: Path) -> bytes:
    """The body of one case, whose files are relative to `folder`; asks for every row, to find flips."""
    recipe = {"preset": case.preset, "assigner": case.assigner, "loss": case.loss}
    overrides: dict[str, Any] = {name: value for name, value in recipe.items() if value}
    overrides |= {"detail": "full", "gradients": False}
    if case.coco:
        return coco_request(folder / case.coco.ground_truth, folder / case.coco.predictions, overrides)
    assert case.request is not None, "a case has one source"
    return file_request(folder / case.request, read_json(folder / case.request), overrides)


def coco_request(ground_truth: Path, predictions: Path, overrides: dict[str, Any]) -> bytes:
    """A COCO pair with a recipe, as a body."""
    pair = {"ground_truth": read_json(ground_truth), "predictions": read_json(predictions)}
    return encode({"coco": pair, **overrides})


def file_request(name: Path | str, request: Any, overrides: dict[str, Any]) -> bytes:  # noqa: ANN401 - any JSON
    """A request with a recipe laid over its own, field by field."""
    if not isinstance(request, dict):
        raise BadRequest(f"{name} holds no request: {type(request).__name__} instead of an object")
    return encode(_merged(request, overrides))


def encode(request: dict[str, Any]) -> bytes:
    """A request as bytes; non-finite numbers stay as they are, for the service to diagnose."""
    return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        own = merged.get(key)
        if isinstance(own, dict) and isinstance(value, dict):
            merged[key] = _merged(own, value)
        else:
            merged[key] = value
    return merged
