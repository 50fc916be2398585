"""What assigners share at both ends: precision on the way in, columns on the way out."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from posneg.models import boxes
from posneg.models.pairs import rows_by_image
from posneg.models.types import Assignment, GroundTruth, Predictions


def weighable(predictions: Predictions, ground_truth: GroundTruth) -> tuple[Predictions, GroundTruth]:
    """Both in float32 where they come in half precision, in which areas and penalties overflow."""
    if predictions.boxes.dtype.itemsize > 2:
        return predictions, ground_truth

    def wide(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.float()

    scores = predictions.scores
    scores = replace(scores, logits=wide(scores.logits), probabilities=wide(scores.probabilities))
    widened = replace(
        predictions,
        boxes=predictions.boxes.float(),
        scores=scores,
        points=predictions.points.float(),
        strides=predictions.strides.float(),
        anchors=wide(predictions.anchors),
        objectness=wide(predictions.objectness),
        extent=wide(predictions.extent),
    )
    return widened, replace(ground_truth, boxes=ground_truth.boxes.float())


def excused_by_regions(
    predictions: Predictions,
    anchors: Float[Tensor, "N 4"],
    ground_truth: GroundTruth,
    threshold: float | None,
    with_respect_to: str = "prediction",
) -> Bool[Tensor, "N"]:
    """Anchors that an ignored region covers by more than the threshold (None or 0: none)."""
    excused = torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
    if threshold is None or threshold <= 0:
        return excused
    for rows in rows_by_image(predictions, ground_truth, ground_truth.ignore):
        region, anchor = ground_truth.boxes[rows.ground_truth][:, None], anchors[rows.predictions][None]
        share = boxes.iof(anchor, region) if with_respect_to == "prediction" else boxes.iof(region, anchor)
        excused[rows.predictions] = share.amax(0) > threshold
    return excused


def assignment_of(
    predictions: Predictions,
    *,
    prediction: Int[Tensor, "P"],
    ground_truth: Int[Tensor, "P"],
    degenerate: Bool[Tensor, "G"],
    iou: Float[Tensor, "P"],
    metric: Float[Tensor, "P"],
    quality: Float[Tensor, "P"],
    reason: str,
    excused: Bool[Tensor, "N"] | None = None,
) -> Assignment:
    """Matched pairs as columns of the predictions, in their dtype; of the rest, excused ones are ignored."""
    dtype, count = predictions.boxes.dtype, len(predictions.boxes)
    largest = torch.finfo(dtype).max
    none = torch.zeros(count, dtype=torch.bool, device=prediction.device)
    positive = none.index_fill(0, prediction, True)
    ignored = none if excused is None else excused & ~positive

    def column(values: Float[Tensor, "P"]) -> Float[Tensor, "N"]:
        empty = torch.zeros(count, dtype=dtype, device=values.device)
        return empty.scatter(0, prediction, values.clamp(-largest, largest).to(dtype))

    return Assignment(
        positive=positive,
        ignored=ignored,
        ground_truth=torch.zeros_like(predictions.image).scatter(0, prediction, ground_truth),
        iou=column(iou),
        metric=column(metric),
        quality=column(quality),
        degenerate=degenerate,
        reason=ignored.long(),
        reasons=(reason, "IGNORED_BY_REGION"),
    )
