"""Adaptive training sample selection: each box sets its own IoU threshold from the anchors around it.

Zhang et al., CVPR 2020, arXiv:1912.02424, algorithm 1. Candidates of a box are the `topk` anchors of each
level whose centres are nearest to its own; the threshold is the mean of their IoUs plus one (unbiased)
standard deviation. A candidate that reaches it, and whose centre lies in the box, is positive. Predictions
play no part in it.

- `mmdet` (`ATSSAssigner`): IoU >= threshold; centre inside by more than 0.01 px; an anchor that two boxes
  claim goes to the claimant with the larger IoU; unions are at least 1e-6.
- `ppdet` (PP-YOLOE's static phase): IoU > threshold; inside by 1e-9; a contested anchor goes to the largest
  IoU among all boxes; 1e-10 is added to unions. Anchors are always squares of `anchor_scale` strides on the
  points. The class target is the IoU of the prediction and its match.

A box with one candidate has no deviation, and so no positives, as in both upstreams. An anchor that an
ignored region covers by more than `ignore_iof_threshold` of its area is a candidate of last resort (its
distance counts 1e8), and ignored unless it becomes positive.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from jaxtyping import Bool, Float, Int
from torch import Tensor

from posneg.models import boxes
from posneg.models.assigners import assigner
from posneg.models.assigners._columns import assignment_of, excused_by_regions, weighable
from posneg.models.pairs import (
    Pairs,
    levels,
    nearest_pairs,
    pairs_with,
    rows_by_image,
    settled,
    smallest_in_rows,
    union,
    value_at_rank,
)
from posneg.models.types import Assignment, GroundTruth, Predictions, Test, Trace

SEMANTICS = 1
Flavor = Literal["mmdet", "ppdet"]
BY_FLAVOR = {"anchor_scale": {"mmdet": 8.0, "ppdet": 5.0}}  # what null stands for
INSIDE_MARGIN_PX = {"mmdet": 0.01, "ppdet": 1e-9}
LAST_RESORT_PX = 1e8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """What the rule looks at: anchors and boxes, who takes part, and how many anchors of a level count."""

    predictions: Predictions
    ground_truth: GroundTruth
    anchors: Float[Tensor, "N 4"]
    usable: Bool[Tensor, "G"]
    excused: Bool[Tensor, "N"]
    level: Int[Tensor, "N"]
    flavor: Flavor
    topk: int

    def iou(self, pairs: Pairs) -> Float[Tensor, "P"]:
        """Of anchor and box."""
        anchors, true = self.anchors[pairs.prediction], self.ground_truth.boxes[pairs.ground_truth]
        if self.flavor == "mmdet":
            return boxes.iou_mmdet(anchors, true)
        return boxes.iou_ppdet(anchors, true, eps=1e-10)

    def inside_px(self, pairs: Pairs) -> Float[Tensor, "P"]:
        """From the anchor's centre to the nearest side of the box; negative outside."""
        centers = boxes.centers(self.anchors[pairs.prediction])
        return boxes.inside_distance(centers, self.ground_truth.boxes[pairs.ground_truth])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Near:
    """Each box's nearest anchors by level, one more than count; `rank` from 0 within box and level."""

    pairs: Pairs
    distance: Float[Tensor, "P"]
    rank: Int[Tensor, "P"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weighed:
    """Pairs with what the rule measures of them; `candidate` ones are among the nearest of their level."""

    pairs: Pairs
    candidate: Bool[Tensor, "P"]
    iou: Float[Tensor, "P"]
    threshold: Float[Tensor, "P"]
    reaches: Bool[Tensor, "P"]
    inside_px: Float[Tensor, "P"]
    inside: Bool[Tensor, "P"]


@assigner
@torch.no_grad()
def atss(
    predictions: Predictions,
    ground_truth: GroundTruth,
    *,
    flavor: Flavor = "mmdet",
    topk: Annotated[int, Ge(1)] = 9,
    ignore_iof_threshold: float | None = 0.5,
    anchor_scale: Annotated[float, Gt(0)] | None = None,
    trace: bool = False,
) -> Assignment:
    """Give each box the anchors near its centre with IoU >= mean + deviation of its `topk` nearest per level.

    Where no anchors are given they are squares of `anchor_scale` strides on the points; null is 8 for `mmdet`
    and 5 for `ppdet`. A level is a run of equal strides. `ignore_iof_threshold` null or 0 turns that off.
    """
    wide, truth = weighable(predictions, ground_truth)
    anchors = _anchors(wide, flavor, anchor_scale)
    scene = _Scene(
        predictions=wide,
        ground_truth=truth,
        anchors=anchors,
        usable=~truth.ignore,
        excused=excused_by_regions(wide, anchors, truth, ignore_iof_threshold),
        level=levels(wide),
        flavor=flavor,
        topk=topk,
    )
    near = _nearest(scene)
    chosen = near.pairs.take(near.rank < topk)
    threshold = _thresholds(chosen.ground_truth, scene.iou(chosen), len(truth.boxes))
    weighed = _weigh(scene, _pairs(scene, chosen, threshold, trace), chosen, threshold)
    pairs = weighed.pairs
    claimed = weighed.candidate & weighed.reaches & weighed.inside
    entitled = claimed if flavor == "mmdet" else torch.ones_like(claimed)
    won, rival = settled(pairs.prediction, weighed.iou, claimed, entitled, len(anchors))
    overlap = weighed.iou
    if flavor == "ppdet":
        overlap = boxes.iou_ppdet(wide.boxes[pairs.prediction], truth.boxes[pairs.ground_truth])
    result = assignment_of(
        predictions,
        prediction=pairs.prediction[won],
        ground_truth=pairs.ground_truth[won],
        degenerate=torch.zeros_like(scene.usable),
        iou=overlap[won],
        metric=weighed.iou[won],
        quality=overlap[won],
        reason="TOP_K",
        excused=scene.excused,
    )
    if not trace:
        return result
    tests = (
        *_tests(scene, weighed, near),
        _test("LOST_CONFLICT", "anchor_iou", weighed.iou, rival, won | ~claimed),
    )
    return replace(result, trace=_trace(scene, weighed, near, overlap, tests))


def _anchors(predictions: Predictions, flavor: Flavor, scale: float | None) -> Float[Tensor, "N 4"]:
    if predictions.anchors is not None and flavor == "mmdet":
        return predictions.anchors
    half = (BY_FLAVOR["anchor_scale"][flavor] if scale is None else scale) * predictions.strides[:, None] / 2
    return torch.cat([predictions.points - half, predictions.points + half], 1)


def _nearest(scene: _Scene) -> _Near:
    """The `topk` nearest anchors of each box on each level, and the next one; ties to the lowest index."""
    predictions = scene.predictions
    none = predictions.image[:0]
    found = [(none, none, predictions.strides[:0], none)]
    for rows in rows_by_image(predictions, scene.ground_truth, scene.usable):
        distance = _distances(scene, rows.predictions, rows.ground_truth)
        start = rows.predictions.start
        sizes = torch.bincount(scene.level[rows.predictions]).tolist()
        for part in torch.split(distance, sizes, dim=1):
            box, anchor, rank = smallest_in_rows(part, min(scene.topk + 1, part.shape[1]))
            found.append((anchor + start, rows.ground_truth[box], part[box, anchor], rank))
            start += part.shape[1]
    prediction, box, distance, rank = (torch.cat(column) for column in zip(*found, strict=True))
    kept = distance.isfinite()
    pairs = Pairs(prediction=prediction[kept], ground_truth=box[kept])
    return _Near(pairs=pairs, distance=distance[kept], rank=rank[kept])


def _distances(scene: _Scene, rows: slice, ground_truth: Int[Tensor, "G"]) -> Float[Tensor, "G N"]:
    """Between the centres, in pixels; infinite for anchors that take no part."""
    centers = boxes.centers(scene.anchors[rows])
    true = boxes.centers(scene.ground_truth.boxes[ground_truth])
    x, y = (centers[None, :, axis] - true[:, None, axis] for axis in range(2))
    distance = (x * x + y * y).sqrt()  # equal for equal squares, which hypot does not promise
    distance = torch.where(scene.excused[rows], LAST_RESORT_PX, distance)
    finite = scene.predictions.finite
    return distance if finite is None else torch.where(finite[rows], distance, torch.inf)


def _thresholds(group: Int[Tensor, "P"], iou: Float[Tensor, "P"], groups: int) -> Float[Tensor, "groups"]:
    """Mean plus unbiased deviation of each group; NaN for a group of one.

    Taken from the largest member, so that equal overlaps give that overlap exactly and a deviation of 0.
    """
    zeros = iou.new_zeros(groups)
    count = torch.bincount(group, minlength=groups)
    largest = zeros.scatter_reduce(0, group, iou, "amax")
    mean = largest + zeros.index_add(0, group, iou - largest[group]) / count
    deviation = (zeros.index_add(0, group, (iou - mean[group]) ** 2) / (count - 1)).sqrt()
    return torch.where(count > 1, mean + deviation, torch.nan)


def _pairs(scene: _Scene, chosen: Pairs, threshold: Float[Tensor, "G"], trace: bool) -> Pairs:
    """The candidates, whoever may win a contested anchor, and with `trace` what an explanation names."""
    parts, count = [chosen], len(scene.anchors)
    if scene.flavor == "ppdet":
        weighed = _weigh(scene, chosen, chosen, threshold)
        claims = torch.bincount(chosen.prediction[weighed.reaches & weighed.inside], minlength=count)
        contested = (claims > 1).nonzero().squeeze(1)
        parts.append(pairs_with(scene.predictions, scene.ground_truth, scene.usable, contested))
    if trace:
        anchored = replace(scene.predictions, boxes=scene.anchors)
        parts.append(nearest_pairs(anchored, scene.ground_truth, scene.usable))
    return union(count, *parts)


def _weigh(scene: _Scene, pairs: Pairs, chosen: Pairs, threshold: Float[Tensor, "G"]) -> _Weighed:
    iou, inside, cutoff = scene.iou(pairs), scene.inside_px(pairs), threshold[pairs.ground_truth]
    return _Weighed(
        pairs=pairs,
        candidate=torch.isin(_keys(scene, pairs), _keys(scene, chosen)),
        iou=iou,
        threshold=cutoff,
        reaches=iou >= cutoff if scene.flavor == "mmdet" else iou > cutoff,
        inside_px=inside,
        inside=inside > INSIDE_MARGIN_PX[scene.flavor],
    )


def _keys(scene: _Scene, pairs: Pairs) -> Int[Tensor, "P"]:
    return pairs.ground_truth * len(scene.anchors) + pairs.prediction


def _test(reason: str, quantity: str, value: Tensor, cutoff: Tensor, passed: Tensor) -> Test:
    return Test(reason=reason, quantity=quantity, value=value, cutoff=cutoff, passed=passed)


def _tests(scene: _Scene, weighed: _Weighed, near: _Near) -> tuple[Test, Test, Test]:
    """The tests of a pair in their order, but for the last, which tells claims that were lost."""
    margin = torch.full_like(weighed.inside_px, INSIDE_MARGIN_PX[scene.flavor])
    return (
        _rank_test(scene, weighed, near),
        _test("BELOW_THRESHOLD", "anchor_iou", weighed.iou, weighed.threshold, weighed.reaches),
        _test("NOT_A_CANDIDATE", "distance_to_side", weighed.inside_px, margin, weighed.inside),
    )


def _rank_test(scene: _Scene, weighed: _Weighed, near: _Near) -> Test:
    """Among the nearest of its level, against the first that is not; for the rest, the last that is."""
    width = int(scene.level.max()) + 1 if len(scene.level) else 1

    def group(pairs: Pairs) -> Int[Tensor, "Q"]:
        return pairs.ground_truth * width + scene.level[pairs.prediction]

    own, others, groups = group(weighed.pairs), group(near.pairs), len(scene.ground_truth.boxes) * width
    last_in = value_at_rank(others, near.distance, near.rank, scene.topk - 1, groups)[own]
    first_out = value_at_rank(others, near.distance, near.rank, scene.topk, groups)[own]
    centers = boxes.centers(scene.anchors[weighed.pairs.prediction])
    offset = centers - boxes.centers(scene.ground_truth.boxes[weighed.pairs.ground_truth])
    distance = (offset * offset).sum(1).sqrt()
    distance = torch.where(scene.excused[weighed.pairs.prediction], LAST_RESORT_PX, distance)
    # Measured anew, the last digit may differ from the one that was ranked by.
    inner, outer = torch.fmin(distance, first_out), torch.fmax(distance, last_in)
    return Test(
        reason="RANK_OUT_OF_TOPK",
        quantity="center_distance",
        value=torch.where(weighed.candidate, inner, outer),
        cutoff=torch.where(weighed.candidate, first_out, last_in),
        passed=weighed.candidate,
        cost=True,
    )


def _trace(
    scene: _Scene, weighed: _Weighed, near: _Near, overlap: Float[Tensor, "P"], tests: tuple[Test, ...]
) -> Trace:
    rank = torch.zeros_like(weighed.pairs.prediction)
    chosen = near.rank < scene.topk
    at = torch.searchsorted(_keys(scene, weighed.pairs), _keys(scene, near.pairs.take(chosen)))
    rank[at] = near.rank[chosen] + 1
    return Trace(
        prediction=weighed.pairs.prediction,
        ground_truth=weighed.pairs.ground_truth,
        candidate=weighed.candidate & weighed.inside,
        iou=overlap,
        metric=weighed.iou,
        factors={},
        rank=rank,
        tests=tests,
    )
