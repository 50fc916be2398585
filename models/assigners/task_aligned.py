"""Task-aligned assignment: each ground truth takes the predictions that both classify and locate it best.

Feng et al., TOOD, ICCV 2021, arXiv:2108.07755, section 3.2: t = s^alpha * u^beta, s the score of the box's
class, u the overlap. Three implementations differ, and each is a flavor:

- `mmdet` (TOOD): IoU; ranks all predictions, and tests for "inside the box" (by 0.01 px) afterwards; a metric
  of 0 is never positive; a prediction that two boxes claim goes to the claimant with the larger IoU.
- `ultralytics` (YOLOv8): complete IoU, at least 0; ranks the points inside, where sides below the second
  level's stride are enlarged to it; a metric of 0 may be positive; a contested prediction goes to the largest
  overlap among all boxes that it is a candidate of; boxes with x1+y1+x2+y2 <= 0 count as padding.
- `ppdet` (PP-YOLOE): IoU; ranks the points inside; a contested prediction goes to the largest IoU among all
  boxes.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from jaxtyping import Bool, Float, Int
from torch import Tensor

from posneg.models import boxes
from posneg.models.assigners import assigner
from posneg.models.pairs import (
    Pairs,
    all_pairs,
    nearest_pairs,
    pairs_inside,
    pairs_overlapping,
    rank_within,
    settled,
    union,
    value_at_rank,
)
from posneg.models.types import Assignment, GroundTruth, Predictions, Test, Trace, image_starts

SEMANTICS = 1
Flavor = Literal["mmdet", "ultralytics", "ppdet"]
INSIDE_MARGIN_PX = {"mmdet": 0.01, "ultralytics": 1e-9, "ppdet": 1e-9}
QUALITY_EPS = {"mmdet": 1e-7, "ultralytics": 1e-9, "ppdet": 1e-9}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weighed:
    """Pairs with what the rule measures of them; `candidate` ones have their point in the box."""

    pairs: Pairs
    candidate: Bool[Tensor, "P"]
    inside_px: Float[Tensor, "P"]
    overlap: Float[Tensor, "P"]
    score: Float[Tensor, "P"]
    metric: Float[Tensor, "P"]


@assigner
@torch.no_grad()
def task_aligned(
    predictions: Predictions,
    ground_truth: GroundTruth,
    *,
    flavor: Flavor = "mmdet",
    topk: Annotated[int, Ge(1)] = 13,
    topk2: Annotated[int, Ge(1)] | None = None,
    alpha: Annotated[float, Ge(0)] = 1.0,
    beta: Annotated[float, Ge(0)] = 6.0,
    min_iou: Annotated[float, Ge(0)] = 0.0,
    min_metric: Annotated[float, Ge(0)] = 0.0,
    candidates: Literal["points_in_box", "all"] = "points_in_box",
    trace: bool = False,
) -> Assignment:
    """Give each ground truth the `topk` candidates with the largest score^alpha * overlap^beta.

    Pairs below `min_iou` or `min_metric` are never positive and hold no rank. `topk2` keeps so many of each
    box's predictions after conflicts are settled. Ties go to the lowest index.
    """
    degenerate = ~ground_truth.ignore & (ground_truth.boxes.sum(-1) <= 0) & (flavor == "ultralytics")
    usable = ~(ground_truth.ignore | degenerate)
    count = len(ground_truth.boxes)
    grown = _candidate_boxes(predictions, ground_truth, flavor)
    pairs = _pairs(predictions, ground_truth, usable, grown, flavor, candidates, beta, trace)
    weighed = _weigh(predictions, ground_truth, grown, pairs, flavor, candidates, alpha, beta)

    # The tests, in the order in which they are told; all must be passed.
    tests: list[Test] = []
    if candidates == "points_in_box":
        margin = torch.full_like(weighed.inside_px, INSIDE_MARGIN_PX[flavor])
        tests.append(
            _test("NOT_A_CANDIDATE", "distance_to_side", weighed.inside_px, margin, weighed.candidate)
        )
    if flavor == "mmdet" or min_metric > 0:
        floor = torch.full_like(weighed.metric, min_metric)
        above = weighed.metric > 0 if flavor == "mmdet" else torch.ones_like(weighed.candidate)
        tests.append(
            _test("BELOW_THRESHOLD", "metric", weighed.metric, floor, above & (weighed.metric >= floor))
        )
    if min_iou > 0:
        floor = torch.full_like(weighed.overlap, min_iou)
        tests.append(_test("BELOW_THRESHOLD", "iou", weighed.overlap, floor, weighed.overlap >= floor))

    # mmdet alone ranks before it asks whether the point is inside.
    ranked = _all_passed(tests[1:] if flavor == "mmdet" and candidates == "points_in_box" else tests, pairs)
    rank = rank_within(pairs.ground_truth, weighed.metric, ranked)
    tests.append(_rank_test(pairs.ground_truth, weighed.metric, rank, topk, count))
    claimed = _all_passed(tests, pairs)
    won, rival = _settle(predictions, weighed, claimed, flavor)
    tests.append(_test("LOST_CONFLICT", "iou", weighed.overlap, rival, won | ~claimed))
    if topk2 is not None and topk2 != topk:
        second = rank_within(pairs.ground_truth, weighed.metric, won)
        tests.append(_rank_test(pairs.ground_truth, weighed.metric, second, topk2, count))
        won = won & tests[-1].passed

    result = _result(predictions, weighed, won, degenerate, QUALITY_EPS[flavor])
    if not trace:
        return result
    told = Trace(
        prediction=pairs.prediction,
        ground_truth=pairs.ground_truth,
        candidate=weighed.candidate,
        iou=weighed.overlap,
        metric=weighed.metric,
        factors={"score": weighed.score**alpha, "iou": weighed.overlap**beta},
        rank=torch.where(ranked, rank + 1, 0),
        tests=tuple(tests),
    )
    return replace(result, trace=told)


def _candidate_boxes(
    predictions: Predictions, ground_truth: GroundTruth, flavor: Flavor
) -> Float[Tensor, "G 4"]:
    """Boxes that a point must be inside of: ultralytics enlarges sides below the second level's stride."""
    if flavor != "ultralytics" or len(predictions.strides) == 0 or len(ground_truth.boxes) == 0:
        return ground_truth.boxes
    images = int(torch.maximum(predictions.image[-1], ground_truth.image[-1])) + 1
    starts = image_starts(predictions.image, images)
    seconds = []
    for first, end in pairwise(starts):
        strides = predictions.strides[first:end]
        other = strides[strides != strides[0]] if end > first else strides
        seconds.append(torch.cat([other[:1], strides[:1], strides.new_ones(1)])[0])
    return boxes.grow_sides(ground_truth.boxes, torch.stack(seconds)[ground_truth.image])


def _pairs(
    predictions: Predictions,
    ground_truth: GroundTruth,
    usable: Bool[Tensor, "G"],
    grown: Float[Tensor, "G 4"],
    flavor: Flavor,
    candidates: str,
    beta: float,
    trace: bool,
) -> Pairs:
    """The pairs that can matter; with `trace` also those that an explanation names."""
    if candidates == "all":
        return all_pairs(predictions, ground_truth, usable)
    if flavor == "mmdet" and beta == 0:  # then the metric of boxes apart is above 0 too
        return all_pairs(predictions, ground_truth, usable)
    inside = pairs_inside(predictions, ground_truth, usable, grown, INSIDE_MARGIN_PX[flavor])
    parts = [inside]
    if flavor == "mmdet":
        parts.append(pairs_overlapping(predictions, ground_truth, usable))
    if flavor == "ppdet":  # any box may win a contested prediction, also one that its point is outside of
        contested = torch.bincount(inside.prediction, minlength=len(predictions.boxes)) > 1
        everything = all_pairs(predictions, ground_truth, usable)
        parts.append(everything.take(contested[everything.prediction]))
    if trace:
        parts.append(nearest_pairs(predictions, ground_truth, usable))
    return union(len(predictions.boxes), *parts) if len(parts) > 1 else inside


def _weigh(
    predictions: Predictions,
    ground_truth: GroundTruth,
    grown: Float[Tensor, "G 4"],
    pairs: Pairs,
    flavor: Flavor,
    candidates: str,
    alpha: float,
    beta: float,
) -> _Weighed:
    inside = boxes.inside_distance(predictions.points[pairs.prediction], grown[pairs.ground_truth])
    overlap = _overlap(predictions, ground_truth, pairs, flavor)
    score = predictions.scores.probability(pairs.prediction, ground_truth.labels[pairs.ground_truth])
    return _Weighed(
        pairs=pairs,
        candidate=(inside > INSIDE_MARGIN_PX[flavor]) | (candidates == "all"),
        inside_px=inside,
        overlap=overlap,
        score=score,
        metric=score**alpha * overlap**beta,
    )


def _overlap(
    predictions: Predictions, ground_truth: GroundTruth, pairs: Pairs, flavor: Flavor
) -> Float[Tensor, "P"]:
    predicted, true = predictions.boxes[pairs.prediction], ground_truth.boxes[pairs.ground_truth]
    if flavor == "ultralytics":
        return boxes.ciou_ultralytics(true, predicted).clamp(min=0)
    return (boxes.iou_mmdet if flavor == "mmdet" else boxes.iou_ppdet)(predicted, true).clamp(min=0)


def _test(reason: str, quantity: str, value: Tensor, cutoff: Tensor, passed: Tensor) -> Test:
    return Test(reason=reason, quantity=quantity, value=value, cutoff=cutoff, passed=passed)


def _all_passed(tests: list[Test], pairs: Pairs) -> Bool[Tensor, "P"]:
    passed = torch.ones_like(pairs.prediction, dtype=torch.bool)
    for test in tests:
        passed = passed & test.passed
    return passed


def _rank_test(
    group: Int[Tensor, "P"], metric: Float[Tensor, "P"], rank: Int[Tensor, "P"], k: int, groups: int
) -> Test:
    """Inside the best `k`, against the first one outside; for the rest, against the last one inside."""
    within = rank < k
    last_in = value_at_rank(group, metric, rank, k - 1, groups)[group]
    first_out = value_at_rank(group, metric, rank, k, groups)[group]
    return _test("RANK_OUT_OF_TOPK", "metric", metric, torch.where(within, first_out, last_in), within)


def _settle(
    predictions: Predictions,
    weighed: _Weighed,
    claimed: Bool[Tensor, "P"],
    flavor: Flavor,
) -> tuple[Bool[Tensor, "P"], Float[Tensor, "P"]]:
    """Which pairs are matched once each prediction has one box, and each pair's best rival (NaN: none).

    Who may win a contested prediction is where the flavors differ: its claimants, all boxes that it is a
    candidate of, or any box.
    """
    entitled = {"mmdet": claimed, "ultralytics": weighed.candidate, "ppdet": torch.ones_like(claimed)}[flavor]
    return settled(weighed.pairs.prediction, weighed.overlap, claimed, entitled, len(predictions.boxes))


def _result(
    predictions: Predictions,
    weighed: _Weighed,
    won: Bool[Tensor, "P"],
    degenerate: Bool[Tensor, "G"],
    eps: float,
) -> Assignment:
    """The matched pairs as columns; the quality of each box's best is that box's best overlap."""
    rows = won.nonzero().squeeze(1)
    prediction, box = weighed.pairs.prediction[rows], weighed.pairs.ground_truth[rows]
    metric, overlap = weighed.metric[rows], weighed.overlap[rows]
    zeros = metric.new_zeros(len(degenerate))
    best_metric = zeros.scatter_reduce(0, box, metric, "amax")[box]
    best_overlap = zeros.scatter_reduce(0, box, overlap, "amax")[box]
    whole = best_metric + eps  # 0 in half precision, where eps vanishes, if the best metric is 0
    quality = torch.where(whole > 0, metric * best_overlap / torch.where(whole > 0, whole, 1), 0)
    count = len(predictions.boxes)
    column = metric.new_zeros(count)
    index = torch.zeros_like(predictions.image)
    return Assignment(
        positive=torch.zeros(count, dtype=torch.bool, device=metric.device).index_fill(0, prediction, True),
        ignored=torch.zeros(count, dtype=torch.bool, device=metric.device),
        ground_truth=index.scatter(0, prediction, box),
        iou=column.scatter(0, prediction, overlap),
        metric=column.scatter(0, prediction, metric),
        quality=column.scatter(0, prediction, quality),
        degenerate=degenerate,
        reason=index,
        reasons=("TOP_K",),
    )
