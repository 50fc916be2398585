"""From a parsed request to the tensors that the criterion takes, with leaves for the gradients.

What is non-finite or has no area is kept out of the batch's arithmetic here, in one place, and told by name.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posneg.models import boxes as geometry
from posneg.models.heads import boxes_from_deltas, boxes_from_dfl, boxes_from_ltrb, boxes_from_raw
from posneg.models.recipe import Recipe
from posneg.models.types import Batch, ClassScores, GroundTruth, Predictions
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
        sizes=_sizes(request, dtype),
    )
    set_aside = [
        None if took_part and fine else "NOT_SAMPLED" if fine else "NONFINITE"
        for took_part, fine in zip(_sampled(request), finite.tolist(), strict=True)
    ]
    return Prepared(batch=batch, leaves=leaves, excluded=excluded, set_aside=set_aside)


def _sampled(request: LossInput) -> list[bool]:
    """Which predictions a sampler took; all of an image's where none is told."""
    took: list[bool] = []
    for image in request.images:
        chosen = image.predictions.sampled
        mask = np.full(image.predictions.count, chosen is None)
        mask[[] if chosen is None else chosen] = True
        took += mask.tolist()
    return took


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
    boxes = _boxes(request, columns, points, strides, anchors)
    points = geometry.centers(boxes).detach() if points is None else points
    deltas = columns.get("deltas")
    if deltas is None and any(t.compared == "deltas" for t in recipe.terms.values()):
        deltas = torch.zeros_like(boxes) if anchors is None else geometry.to_deltas(anchors, boxes)
        anchors = boxes if anchors is None else anchors
    return Predictions(
        boxes=boxes,
        scores=_scores(request, columns),
        image=image,
        points=points,
        strides=strides,
        anchors=anchors,
        ltrb=columns.get("ltrb"),
        dfl=columns.get("dfl"),
        deltas=deltas,
        finite=None if bool(finite.all()) else finite,
    )


def finite_dtype(columns: dict[str, Tensor]) -> torch.dtype:
    """The dtype that all columns share."""
    return next(iter(columns.values())).dtype


def _boxes(
    request: LossInput,
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
            raise _lacking(request, "deltas", "anchors")
        return boxes_from_deltas(columns["deltas"], anchors)
    for name, decode in (("dfl", boxes_from_dfl), ("ltrb", boxes_from_ltrb), ("raw", boxes_from_raw)):
        if name in columns:
            if points is None:
                raise _lacking(request, name, "points or a grid")
            return decode(columns[name], points, strides)
    raise _lacking(request, "scores", "boxes, dfl, ltrb, raw or deltas")


def _lacking(request: LossInput, given: str, needed: str) -> InvalidRequest:
    number = next((n for n, i in enumerate(request.images) if i.predictions.count), 0)
    detail = f"{given!r} needs {needed} beside it"
    return InvalidRequest.at(f"/images/{number}/predictions", detail, "missing_column")


def _scores(request: LossInput, columns: dict[str, Tensor]) -> ClassScores:
    """The scores, as probabilities or logits; a list marks the classes that it gives."""
    given = None
    marks = [i.predictions.given for i in request.images if i.predictions.count]
    if marks and marks[0] is not None:
        given = torch.from_numpy(np.concatenate([m for m in marks if m is not None]))
    name = "logits" if "logits" in columns else "scores"
    if name not in columns:
        raise _lacking(request, "boxes", "scores or logits")
    values = columns[name]
    if values.shape[1] != len(request.classes) and len(values):
        number = next(n for n, i in enumerate(request.images) if i.predictions.count)
        detail = f"has {values.shape[1]} columns for {len(request.classes)} classes"
        raise InvalidRequest.at(f"/images/{number}/predictions/{name}", detail, "wrong_length")
    if name == "logits":
        return ClassScores(logits=values, given=given)
    return ClassScores(probabilities=values, given=given)


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


def _sizes(request: LossInput, dtype: torch.dtype) -> Tensor | None:
    sizes = [image.size for image in request.images]
    known = [size for size in sizes if size is not None]
    return torch.tensor(known, dtype=dtype).reshape(-1, 2) if len(known) == len(sizes) else None


def to_xyxy(boxes: Tensor, box_format: BoxFormat) -> Tensor:
    """Corners from whatever format was sent, differentiably."""
    if box_format == "xyxy":
        return boxes
    if box_format == "xywh":
        return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    return torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
