"""From a parsed request to the tensors that the criterion takes, with leaves for the gradients.

What is non-finite or has no area is kept out of the batch's arithmetic here, in one place, and told by name.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posneg.models import boxes as geometry
from posneg.models.heads import boxes_from_dfl, boxes_from_ltrb, boxes_from_raw
from posneg.models.recipe import Recipe
from posneg.models.types import Batch, GroundTruth, Predictions
from posneg.service.engine.scores import class_scores, lacking
from posneg.service.errors import InvalidRequest
from posneg.service.schemas.loss_input import BoxFormat, ImageInput, LossInput

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
WIDTHS = {"boxes": (4,), "anchors": (4,), "ltrb": (4,), "deltas": (4,), "raw": (4,), "points": (2,)}
NOT_DIFFERENTIATED = {"points", "strides", "anchors"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A batch, the leaves it was made of by column name, and what takes no part in it, with the reason.

    `excluded` tells of ground truths, `set_aside` of predictions.
    """

    batch: Batch
    leaves: dict[str, Tensor]
    excluded: list[str | None]
    set_aside: list[str | None]


def columns_of(request: LossInput) -> frozenset[str]:
    """The columns that the request's predictions have; every image with predictions must have the same."""
    filled = [(n, image) for n, image in enumerate(request.images) if image.predictions.count]
    if not filled:
        return frozenset({"boxes", "scores"})
    first = frozenset(filled[0][1].predictions.columns)
    for number, image in filled:
        if frozenset(image.predictions.columns) != first:
            detail = f"has other columns than image {filled[0][0]}, which has {', '.join(sorted(first))}"
            raise InvalidRequest.at(f"/images/{number}/predictions", detail, "mixed_columns")
    return first


def prepare(request: LossInput, recipe: Recipe) -> Prepared:
    """The request's images as one batch; raises `InvalidRequest` for what the recipe cannot do without."""
    dtype = DTYPES[request.dtype]
    columns = columns_of(request)
    leaves = {name: _joined(request, name, dtype) for name in sorted(columns)}
    if request.gradients:
        for name in leaves.keys() - NOT_DIFFERENTIATED:
            leaves[name].requires_grad_()
    finite = torch.stack([leaf[:, None].isfinite().flatten(1).all(1) for leaf in leaves.values()]).all(0)
    clean = {name: _cleaned(leaf, finite) for name, leaf in leaves.items()}
    counts = torch.tensor([i.predictions.count for i in request.images], dtype=torch.long)
    image = torch.repeat_interleave(torch.arange(len(counts)), counts)
    truth, excluded = _ground_truth(request, dtype)
    batch = Batch(
        predictions=_predictions(request, recipe, clean, image, finite),
        ground_truth=truth,
        images=len(request.images),
        listed=_listed(request),
    )
    set_aside = [None if fine else "NONFINITE" for fine in finite.tolist()]
    return Prepared(batch=batch, leaves=leaves, excluded=excluded, set_aside=set_aside)


def _listed(request: LossInput) -> Tensor | None:
    """Which predictions somebody's sampler took, all of an image that says nothing; None where none does."""
    if all(image.predictions.sampled is None for image in request.images):
        return None
    masks = []
    for image in request.images:
        chosen = image.predictions.sampled
        mask = np.full(image.predictions.count, chosen is None)
        mask[[] if chosen is None else chosen] = True
        masks.append(mask)
    return torch.from_numpy(np.concatenate(masks))


def _joined(request: LossInput, name: str, dtype: torch.dtype) -> Tensor:
    """One column of all images, [N, ...]."""
    parts = [i.predictions.columns[name] for i in request.images if i.predictions.count]
    if not parts:
        width = WIDTHS.get(name, (max(len(request.classes), 1),) if name in ("scores", "logits") else ())
        return torch.zeros((0, *width), dtype=dtype)
    return torch.from_numpy(np.concatenate(parts)).to(dtype)


def _cleaned(leaf: Tensor, finite: Tensor) -> Tensor:
    """The column with zeros in rows that are not finite."""
    if bool(finite.all()):
        return leaf
    return torch.where(finite.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, 0).nan_to_num(0, 0, 0)


def _predictions(
    request: LossInput, recipe: Recipe, columns: dict[str, Tensor], image: Tensor, finite: Tensor
) -> Predictions:
    """Decoded boxes beside their columns; what plain predictions lack is taken from their boxes."""
    anchors = columns.get("anchors")
    anchors = None if anchors is None else to_xyxy(anchors, request.box_format)
    points, strides = columns.get("points"), columns.get("strides")
    strides = torch.ones(len(image), dtype=finite_dtype(columns)) if strides is None else strides
    if points is not None and recipe.point_offset != 0.5:
        derived = torch.tensor([i.grid for i in request.images])[image]
        points = points + derived[:, None] * (recipe.point_offset - 0.5) * strides[:, None]
    if points is None and anchors is not None:
        points = geometry.centers(anchors)
    boxes = _boxes(request, recipe, columns, points, strides, anchors)
    points = geometry.centers(boxes).detach() if points is None else points
    deltas = columns.get("deltas")
    if deltas is None and any(t.compared == "deltas" for t in recipe.terms.values()):
        scale = recipe.delta_scale
        deltas = (
            torch.zeros_like(boxes) if anchors is None else geometry.to_deltas(anchors, boxes, scale=scale)
        )
        anchors = boxes if anchors is None else anchors
    extent = _extent(request, strides.dtype)
    return Predictions(
        boxes=boxes,
        scores=class_scores(request, recipe, columns),
        image=image,
        points=points,
        strides=strides,
        anchors=anchors,
        ltrb=columns.get("ltrb"),
        dfl=columns.get("dfl"),
        deltas=deltas,
        raw=columns.get("raw"),
        objectness=_objectness(recipe, columns),
        centerness=columns.get("centerness"),
        extent=None if extent is None else extent[image],
        finite=None if bool(finite.all()) else finite,
    )


def _objectness(recipe: Recipe, columns: dict[str, Tensor]) -> Tensor | None:
    """The column; where a recipe knows no classes, a plain prediction's largest score is its objectness."""
    if "objectness" in columns or "classification" in recipe.terms or "scores" not in columns:
        return columns.get("objectness")
    largest = columns["scores"].amax(1)
    least = max(math.exp(-100), torch.finfo(largest.dtype).tiny)
    return largest.clamp(min=least).log() - (1 - largest).clamp(min=least).log()


def finite_dtype(columns: dict[str, Tensor]) -> torch.dtype:
    """The dtype that all columns share."""
    return next(iter(columns.values())).dtype


def _boxes(
    request: LossInput,
    recipe: Recipe,
    columns: dict[str, Tensor],
    points: Tensor | None,
    strides: Tensor,
    anchors: Tensor | None,
) -> Tensor:
    """Boxes as sent, or decoded from what the head emits."""
    if "boxes" in columns:
        return to_xyxy(columns["boxes"], request.box_format)
    if "deltas" in columns:
        if anchors is None:
            raise lacking(request, "deltas", "anchors")
        scale, bounded = recipe.delta_scale, recipe.bounded_deltas
        return geometry.from_deltas(anchors, columns["deltas"], scale=scale, bounded=bounded)
    for name, decode in (("dfl", boxes_from_dfl), ("ltrb", boxes_from_ltrb), ("raw", boxes_from_raw)):
        if name in columns:
            if points is None:
                raise lacking(request, name, "points or a grid")
            return decode(columns[name], points, strides)
    raise lacking(request, "scores", "boxes, dfl, ltrb, raw or deltas")


def _ground_truth(request: LossInput, dtype: torch.dtype) -> tuple[GroundTruth, list[str | None]]:
    """All boxes; those that are not finite or have no area are set apart as ignored, with the reason."""
    images = request.images
    sent = np.concatenate([np.zeros((0, 4)), *(i.ground_truth.boxes for i in images)])
    boxes = to_xyxy(torch.from_numpy(sent).to(dtype), request.box_format)
    finite = boxes.isfinite().all(1)
    width, height = geometry.extents(boxes)
    area = (width > 0) & (height > 0)
    out = ~(finite & area)
    labels = np.concatenate([np.zeros(0, np.int64), *(i.ground_truth.labels for i in images)])
    ignore = np.concatenate([np.zeros(0, bool), *(i.ground_truth.ignore for i in images)])
    weight = np.concatenate([np.zeros(0), *(i.ground_truth.weight for i in images)])
    counts = torch.tensor([len(i.ground_truth.boxes) for i in images], dtype=torch.long)
    truth = GroundTruth(
        boxes=torch.where(out[:, None], 0, boxes).nan_to_num(0, 0, 0),
        labels=torch.from_numpy(labels),
        image=torch.repeat_interleave(torch.arange(len(images)), counts),
        ignore=torch.from_numpy(ignore) | out,
        weight=torch.from_numpy(weight).to(dtype),
        soft_labels=_soft_labels(images, request.classes, labels, dtype),
    )
    reasons = [
        None if fine or skipped else ("DEGENERATE" if number else "NONFINITE")
        for fine, number, skipped in zip((~out).tolist(), finite.tolist(), ignore.tolist(), strict=True)
    ]
    return truth, reasons


def _soft_labels(
    images: list[ImageInput],
    classes: list[str],
    labels: NDArray[np.int64],
    dtype: torch.dtype,
) -> Tensor | None:
    """Class shares [G, C] where any box has them; one-hot for the others."""
    soft = [s for image in images for s in image.ground_truth.soft_labels]
    if not any(soft):
        return None
    shares = torch.nn.functional.one_hot(torch.from_numpy(labels), max(len(classes), 1)).to(dtype)
    for row, share in enumerate(soft):
        if share:
            shares[row] = torch.tensor([share.get(name, 0.0) for name in classes], dtype=dtype)
    return shares


def _extent(request: LossInput, dtype: torch.dtype) -> Tensor | None:
    """(width, height) of each image, where all that have predictions are known."""
    sizes = [image.size if image.size or image.predictions.count else (1.0, 1.0) for image in request.images]
    known = [(width, height) for height, width in (size for size in sizes if size is not None)]
    return torch.tensor(known, dtype=dtype).reshape(-1, 2) if len(known) == len(sizes) else None


def to_xyxy(boxes: Tensor, box_format: BoxFormat) -> Tensor:
    """Corners from whatever format was sent, differentiably."""
    if box_format == "xyxy":
        return boxes
    if box_format == "xywh":
        return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    return torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
