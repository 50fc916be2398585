"""Center sampling: a point near the middle of a box answers for it, if the box suits the point's level.

Tian et al., FCOS, ICCV 2019, arXiv:1904.01355, sections 3.1 and 3.2, and its later version, arXiv:2006.09214.
A point is matched if it lies strictly inside the box, within `radius` strides of its centre on either axis,
and if the longest of its distances to the sides is in the range of its level. Of several boxes it takes the
smallest, the first of equals.

- `torchvision` (`FCOS.compute_loss`): points are the centres of the anchors, strides their widths (without
  anchors: the points and strides); ranges are open; boxes of 1e8 square pixels and more are never matched,
  and areas are compared as 1e8 - area.
- `mmdet` (`FCOSHead`): points and strides; the middle is a window clipped to the box; ranges are closed.

Unless `ranges` says otherwise a level's range is 4 to 8 strides, without a lower bound on the first level and
without an upper one on the last: torchvision's rule, and for strides 8 to 128 mmdet's default.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from jaxtyping import Bool, Float
from torch import Tensor

from posneg.models import boxes
from posneg.models.assigners import assigner
from posneg.models.assigners._columns import assignment_of, weighable
from posneg.models.pairs import Pairs, levels, nearest_pairs, pairs_inside, settled, union
from posneg.models.types import Assignment, GroundTruth, Predictions, Test, Trace

SEMANTICS = 1
Flavor = Literal["torchvision", "mmdet"]
Ranges = tuple[tuple[float, float], ...]
LARGEST_AREA = 1e8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """Where predictions are measured from: points, strides, and the range of distances of their level.

    A bound that does not exist is NaN.
    """

    points: Float[Tensor, "N 2"]
    strides: Float[Tensor, "N"]
    low: Float[Tensor, "N"]
    high: Float[Tensor, "N"]


@assigner
@torch.no_grad()
def center_sampling(
    predictions: Predictions,
    ground_truth: GroundTruth,
    *,
    flavor: Flavor = "torchvision",
    radius: Annotated[float, Gt(0)] | None = 1.5,
    ranges: Ranges | None = None,
    trace: bool = False,
) -> Assignment:
    """Give each point the smallest box that it is in the middle of and that suits its level.

    `radius` counts strides; null is anywhere in the box. `ranges` are [low, high] in pixels by level (a run
    of equal strides); the last one holds for further levels. The metric is the area of the box, less is
    better.
    """
    wide, truth = weighable(predictions, ground_truth)
    usable = ~truth.ignore
    grid = _grid(wide, flavor, ranges)
    measured = replace(wide, points=grid.points)
    pairs = pairs_inside(measured, truth, usable, truth.boxes, 0.0)
    if trace:
        pairs = union(len(wide.boxes), pairs, nearest_pairs(wide, truth, usable))
    true = truth.boxes[pairs.ground_truth]
    area = boxes.area(true)
    tests = [*_middle_tests(grid, pairs, true, flavor, radius), *_range_tests(grid, pairs, true, flavor)]
    # torchvision's own order: in float32 areas that differ by a few pixels are equal here
    order = LARGEST_AREA - area if flavor == "torchvision" else -area
    small = order >= 1e-5 if flavor == "torchvision" else area < LARGEST_AREA
    if not bool(small.all()):
        limit = torch.full_like(area, LARGEST_AREA)
        tests.append(_test("OUT_OF_SCALE_RANGE", "area", area, limit, small, cost=True))
    claimed = torch.stack([test.passed for test in tests]).all(0)
    won, rival = settled(pairs.prediction, order, claimed, claimed, len(wide.boxes))
    overlap = boxes.iou(wide.boxes[pairs.prediction], true).clamp(0, 1)
    result = assignment_of(
        predictions,
        prediction=pairs.prediction[won],
        ground_truth=pairs.ground_truth[won],
        degenerate=torch.zeros_like(usable),
        iou=overlap[won],
        metric=area[won],
        quality=overlap[won],
        reason="TOP_K",
    )
    if not trace:
        return result
    offset = LARGEST_AREA if flavor == "torchvision" else 0.0
    contest = _test("LOST_CONFLICT", "area", offset - order, offset - rival, won | ~claimed, cost=True)
    told = Trace(
        prediction=pairs.prediction,
        ground_truth=pairs.ground_truth,
        candidate=torch.stack([t.passed for t in tests if t.reason == "NOT_A_CANDIDATE"]).all(0),
        iou=overlap,
        metric=area,
        factors={},
        rank=torch.zeros_like(pairs.prediction),
        tests=(*tests, contest),
        metric_is_cost=True,
    )
    return replace(result, trace=told)


def _grid(predictions: Predictions, flavor: Flavor, ranges: Ranges | None) -> _Grid:
    points, strides = predictions.points, predictions.strides
    if flavor == "torchvision" and predictions.anchors is not None:
        points = boxes.centers(predictions.anchors)
        strides = boxes.extents(predictions.anchors)[0]
    level = levels(predictions)
    if ranges is not None:
        bounds = strides.new_tensor(ranges or [(float("nan"), float("nan"))]).reshape(-1, 2)
        low, high = bounds[level.clamp(max=len(bounds) - 1)].T
        return _Grid(points=points, strides=strides, low=low, high=high)
    images = int(predictions.image[-1]) + 1 if len(level) else 0
    last = level.new_zeros(images).scatter_reduce(0, predictions.image, level, "amax")[predictions.image]
    low = torch.where(level == 0, torch.nan, 4 * strides)
    high = torch.where(level == last, torch.nan, 8 * strides)
    return _Grid(points=points, strides=strides, low=low, high=high)


def _middle_tests(
    grid: _Grid, pairs: Pairs, true: Float[Tensor, "P 4"], flavor: Flavor, radius: float | None
) -> list[Test]:
    """Inside the box, and near its centre; mmdet has both in one, a window in the box."""
    points = grid.points[pairs.prediction]
    center = boxes.centers(true)
    inside, zero = boxes.inside_distance(points, true), torch.zeros_like(true[:, 0])
    if radius is None:
        return [_test("NOT_A_CANDIDATE", "distance_to_side", inside, zero, inside > 0)]
    reach = radius * grid.strides[pairs.prediction]
    if flavor == "torchvision":
        distance = (points - center).abs().amax(1)
        return [
            _test("NOT_A_CANDIDATE", "distance_to_side", inside, zero, inside > 0),
            _test("NOT_A_CANDIDATE", "center_distance", distance, reach, distance < reach, cost=True),
        ]
    low = torch.maximum(center - reach[:, None], true[:, :2])
    high = torch.minimum(center + reach[:, None], true[:, 2:])
    inside = boxes.inside_distance(points, torch.cat([low, high], 1))
    return [_test("NOT_A_CANDIDATE", "distance_to_side", inside, zero, inside > 0)]


def _range_tests(grid: _Grid, pairs: Pairs, true: Float[Tensor, "P 4"], flavor: Flavor) -> list[Test]:
    """The longest distance to a side, against both bounds of the level."""
    longest = boxes.to_distances(grid.points[pairs.prediction], true).amax(1)
    low, high = grid.low[pairs.prediction], grid.high[pairs.prediction]
    above, below = longest > low, longest < high
    if flavor == "mmdet":
        above, below = longest >= low, longest <= high
    quantity = "longest_distance_to_side"
    return [
        _test("OUT_OF_SCALE_RANGE", quantity, longest, low, above | low.isnan()),
        _test("OUT_OF_SCALE_RANGE", quantity, longest, high, below | high.isnan(), cost=True),
    ]


def _test(
    reason: str,
    quantity: str,
    value: Float[Tensor, "P"],
    cutoff: Float[Tensor, "P"],
    passed: Bool[Tensor, "P"],
    *,
    cost: bool = False,
) -> Test:
    return Test(reason=reason, quantity=quantity, value=value, cutoff=cutoff, passed=passed, cost=cost)
