"""Class scores as a recipe takes them: sigmoid or softmax, with a background or without."""

import numpy as np
import torch
from torch import Tensor

from posneg.models.losses import kind_of
from posneg.models.recipe import Recipe
from posneg.models.types import ClassScores
from posneg.service.errors import InvalidRequest
from posneg.service.schemas.loss_input import LossInput


def softmax(recipe: Recipe) -> bool:
    """Whether the recipe's scores are shares of one whole, the background last."""
    term = recipe.terms.get("classification")
    matched = recipe.assigner == "hungarian" and recipe.assigner_options.get("flavor") in ("detr", "mmdet")
    return matched or (term is not None and kind_of(term.loss) == "softmax")


def class_scores(request: LossInput, recipe: Recipe, columns: dict[str, Tensor]) -> ClassScores:
    """The scores; a list marks the classes that it gives, and its rest is the background of a softmax."""
    name = "logits" if "logits" in columns else "scores"
    if name not in columns:
        return _without(request, recipe, columns)
    values, classes = columns[name], len(request.classes)
    wanted = classes + 1 if softmax(recipe) else classes
    given = _given(request)
    if values.shape[1] == classes and wanted == classes + 1 and name == "scores":
        values = torch.cat([values, (1 - values.sum(1, keepdim=True)).clamp(min=0)], 1)
        given = None
    if values.shape[1] != wanted and len(values):
        number = _first_filled(request)
        detail = f"has {values.shape[1]} columns, not {wanted}: {classes} classes"
        detail += " and the background, which is the last" if wanted > classes else ""
        raise InvalidRequest.at(f"/images/{number}/predictions/{name}", detail, "wrong_length")
    if name == "logits":
        return ClassScores(logits=values, given=given)
    return ClassScores(probabilities=values, given=given)


def lacking(request: LossInput, given: str, needed: str) -> InvalidRequest:
    """A problem that points at the predictions of which a column is missing."""
    detail = f"{given!r} needs {needed} beside it"
    return InvalidRequest.at(f"/images/{_first_filled(request)}/predictions", detail, "missing_column")


def _without(request: LossInput, recipe: Recipe, columns: dict[str, Tensor]) -> ClassScores:
    """No scores: only for a recipe that knows no classes."""
    if "classification" in recipe.terms:
        raise lacking(request, "boxes", "scores or logits")
    rows = next(iter(columns.values()))
    return ClassScores(probabilities=rows.new_zeros(len(rows), max(len(request.classes), 1)))


def _given(request: LossInput) -> Tensor | None:
    marks = [i.predictions.given for i in request.images if i.predictions.count]
    if not marks or marks[0] is None:
        return None
    return torch.from_numpy(np.concatenate([m for m in marks if m is not None]))


def _first_filled(request: LossInput) -> int:
    return next((n for n, image in enumerate(request.images) if image.predictions.count), 0)
