"""Hungarian matching: each box takes one prediction, so that the cost of all pairs together is least.

Carion et al., DETR, ECCV 2020, arXiv:2005.12872, section 3.1. Cost of a pair = `class_cost` * class
+ `l1_cost` * L1 of (cx, cy, w, h) over the extent of the image + `giou_cost` * -GIoU. What is matched to
nothing is background; with fewer predictions than boxes the dearest boxes stay without.

- `detr` (transformers, `HungarianMatcher`) and `mmdet` (`HungarianAssigner`): class = -softmax(x) of the
  box's class, the background among the logits; mmdet's unions and hulls are at least 1e-6.
- `rtdetr` (transformers), `dfine`: with p = sigmoid(x), class = `focal_alpha` (1 - p)^`focal_gamma` *
  -ln(p + 1e-8) - (1 - `focal_alpha`) p^`focal_gamma` * -ln(1 - p + 1e-8).
- `rfdetr`: the same with logarithms taken from the logits.

A cost that is not finite is replaced, so that scipy's solver always has numbers: by more than any matching
could save (upstream: the largest float), by 1 where `dfine` has NaN (so that the pair may be chosen, as
upstream), and by twice the largest finite cost for `rfdetr` (upstream means to, and raises).
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Le
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from posneg.models import boxes
from posneg.models.assigners import assigner
from posneg.models.assigners._columns import assignment_of, weighable
from posneg.models.assigners._matching_margins import rises
from posneg.models.pairs import ImageRows, rows_by_image
from posneg.models.types import Assignment, GroundTruth, Predictions, Test, Trace

SEMANTICS = 1
Flavor = Literal["detr", "rtdetr", "dfine", "rfdetr", "mmdet"]
Weight = Annotated[float, Ge(0)]
SOFTMAX = ("detr", "mmdet")
BY_FLAVOR = {  # what null stands for
    "class_cost": {"detr": 1.0, "mmdet": 1.0, "rtdetr": 2.0, "dfine": 2.0, "rfdetr": 2.0}
}
PARTS = ("classification", "l1", "giou")
LARGEST_COST = 1e100  # beyond it the solver's sums could overflow; counts as not finite
MARGINS_UP_TO = 512  # matched pairs in one image; the margins take time with the cube of that


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    """How much each part of the cost counts, and what the class part is made of."""

    flavor: Flavor
    classification: float
    l1: float
    giou: float
    focal_alpha: float
    focal_gamma: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Solved:
    """One image: its predictions [n], its boxes [G], what each pair costs, and which pairs are matched.

    `cost` is the sum of `parts`, replaced where that was not `finite`.
    """

    prediction: Int[Tensor, "n"]
    ground_truth: Int[Tensor, "G"]
    parts: dict[str, Tensor]
    cost: Float[np.ndarray, "G n"]
    finite: Bool[np.ndarray, "G n"]
    matched: Bool[np.ndarray, "G n"]


@assigner
@torch.no_grad()
def hungarian(
    predictions: Predictions,
    ground_truth: GroundTruth,
    *,
    flavor: Flavor = "detr",
    class_cost: Weight | None = None,
    l1_cost: Weight = 5.0,
    giou_cost: Weight = 2.0,
    focal_alpha: Annotated[float, Ge(0), Le(1)] = 0.25,
    focal_gamma: Weight = 2.0,
    trace: bool = False,
) -> Assignment:
    """Match boxes and predictions one to one at the least total of class, L1 and GIoU cost.

    `class_cost` null is 1 for softmax flavors (`detr`, `mmdet`) and 2 for the others. Boxes are compared as
    shares of `extent`, where that is given. The metric is the cost, less is better. Margins are exact in
    images with at most 512 matches; beyond, none is told.
    """
    if class_cost is None:
        class_cost = BY_FLAVOR["class_cost"][flavor]
    weights = _Weights(
        flavor=flavor,
        classification=class_cost,
        l1=l1_cost,
        giou=giou_cost,
        focal_alpha=focal_alpha,
        focal_gamma=focal_gamma,
    )
    wide, truth = weighable(predictions, ground_truth)
    usable = ~truth.ignore
    solved = [
        _none(wide),
        *(_solve(wide, truth, rows, weights) for rows in rows_by_image(wide, truth, usable)),
    ]
    matched = _joined([_picked(one, one.matched) for one in solved])
    prediction, box = matched["prediction"], matched["ground_truth"]
    overlap = boxes.iou(wide.boxes[prediction], truth.boxes[box]).clamp(0, 1)
    result = assignment_of(
        predictions,
        prediction=prediction,
        ground_truth=box,
        degenerate=torch.zeros_like(usable),
        iou=overlap,
        metric=matched["cost"],
        quality=overlap,
        reason="HUNGARIAN",
    )
    if not trace:
        return result
    candidates = torch.zeros_like(truth.labels)
    for one in solved:
        candidates[one.ground_truth] = len(one.prediction)
    told = _joined([_told(one) for one in solved])
    return replace(result, trace=_trace(wide, truth, told, candidates))


def _none(predictions: Predictions) -> _Solved:
    """An image with nothing to match, so that there is always one."""
    nothing, empty = predictions.image[:0], np.zeros((0, 0))
    parts = {name: predictions.boxes.new_zeros(0, 0) for name in PARTS}
    no = empty.astype(bool)
    return _Solved(prediction=nothing, ground_truth=nothing, parts=parts, cost=empty, finite=no, matched=no)


def _joined(images: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([image[name] for image in images]) for name in images[0]}


def _solve(
    predictions: Predictions, ground_truth: GroundTruth, rows: ImageRows, weights: _Weights
) -> _Solved:
    start, stop, _ = rows.predictions.indices(len(predictions.boxes))
    numbers = torch.arange(start, stop, device=predictions.image.device)
    if predictions.finite is not None:
        numbers = numbers[predictions.finite[rows.predictions]]
    parts = _costs(predictions, ground_truth, numbers[None], rows.ground_truth[:, None], weights)
    total = torch.stack(list(parts.values())).sum(0).double().cpu().numpy()
    with np.errstate(invalid="ignore"):
        finite = np.abs(total) < LARGEST_COST
    cost = _replaced(total, finite, weights.flavor)
    matched = np.zeros_like(finite)
    matched[linear_sum_assignment(cost)] = True
    return _Solved(
        prediction=numbers,
        ground_truth=rows.ground_truth,
        parts=parts,
        cost=cost,
        finite=finite,
        matched=matched,
    )


def _costs(
    predictions: Predictions, ground_truth: GroundTruth, p: Tensor, g: Tensor, weights: _Weights
) -> dict[str, Tensor]:
    """The parts of the cost of each pair [G, n]."""
    predicted, true = predictions.boxes[p], ground_truth.boxes[g]
    distance = (boxes.to_centered(predicted) - boxes.to_centered(true)).abs()
    if predictions.extent is not None:
        distance = distance / predictions.extent[p].repeat(1, 1, 2)
    parts = (
        weights.classification * _class_cost(predictions, p, ground_truth.labels[g], weights),
        weights.l1 * distance.sum(-1),
        -weights.giou * _giou(predicted, true, 1e-6 if weights.flavor == "mmdet" else 0.0),
    )
    return dict(zip(PARTS, parts, strict=True))


def _class_cost(predictions: Predictions, p: Tensor, labels: Tensor, weights: _Weights) -> Tensor:
    """What a prediction's score for the class of the box costs."""
    scores = predictions.scores
    if weights.flavor in SOFTMAX:
        shares = scores.values if scores.logits is None else scores.logits.softmax(-1)
        return -shares[p, labels]
    picked = scores.values[p, labels]
    probability = picked if scores.logits is None else picked.sigmoid()
    if weights.flavor != "rfdetr":
        present, absent = -(probability + 1e-8).log(), -(1 - probability + 1e-8).log()
    elif scores.logits is None:
        present = -probability.log().clamp(min=-100)
        absent = -torch.log1p(-probability).clamp(min=-100)
    else:
        present, absent = -functional.logsigmoid(picked), -functional.logsigmoid(-picked)
    alpha, gamma = weights.focal_alpha, weights.focal_gamma
    return alpha * (1 - probability) ** gamma * present - (1 - alpha) * probability**gamma * absent


def _giou(a: Tensor, b: Tensor, eps: float) -> Tensor:
    """Generalized IoU; not finite where `eps` is 0 and both boxes have no area."""
    shared = boxes.intersection(a, b)
    width, height = boxes.hull_extents(a, b)
    union, hull = boxes.area(a) + boxes.area(b) - shared, width * height
    if eps:
        union, hull = union.clamp(min=eps), hull.clamp(min=eps)
    return shared / union - (hull - union) / hull


def _replaced(cost: NDArray[np.float64], finite: NDArray[np.bool_], flavor: Flavor) -> NDArray[np.float64]:
    """The costs with a number for each that is none."""
    if finite.all():
        return cost
    known = cost[finite] if finite.any() else np.zeros(1)
    largest = float(known.max())
    instead = largest + (largest - float(known.min()) + 1) * (min(cost.shape) + 1)
    if flavor == "rfdetr":
        instead = largest + abs(largest)
    replaced = np.where(finite, cost, instead)
    return np.where(np.isnan(cost), 1.0, replaced) if flavor == "dfine" else replaced


def _picked(solved: _Solved, some: NDArray[np.bool_], **columns: NDArray[np.generic]) -> dict[str, Tensor]:
    """Some pairs, in order of ground truth: their indices, what was found of them, and further columns."""
    box, at = some.nonzero()
    device = solved.prediction.device
    rows, places = torch.from_numpy(box).to(device), torch.from_numpy(at).to(device)
    found = {
        "cost": solved.cost,
        "finite": solved.finite | solved.matched,
        "matched": solved.matched,
        **columns,
    }
    return {
        "prediction": solved.prediction[places],
        "ground_truth": solved.ground_truth[rows],
        **{name: torch.from_numpy(values[box, at]).to(device) for name, values in found.items()},
        **{name: part[rows, places] for name, part in solved.parts.items()},
    }


def _told(solved: _Solved) -> dict[str, Tensor]:
    """Of each box its match and its cheapest prediction, of each prediction the box it comes closest to."""
    cost, matched = solved.cost, solved.matched
    rise = np.full_like(cost, np.nan)
    distance = cost
    if min(cost.shape) <= MARGINS_UP_TO:
        rise = distance = rises(cost, matched)
    some = matched.copy()
    if cost.size:
        some[distance.argmin(0), np.arange(cost.shape[1])] = True
        some[np.arange(cost.shape[0]), cost.argmin(1)] = True
    cutoff = np.where(matched, cost + rise, cost - rise)
    rank = cost.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable") + 1
    return _picked(solved, some, cutoff=np.where(np.isinf(cutoff), np.nan, cutoff), rank=rank)


def _trace(
    predictions: Predictions,
    ground_truth: GroundTruth,
    told: dict[str, Tensor],
    candidates: Int[Tensor, "G"],
) -> Trace:
    prediction, box, cost = told["prediction"], told["ground_truth"], told["cost"]
    tests = [
        _test("NONFINITE", cost, torch.full_like(cost, torch.nan), told["finite"]),
        _test("HUNGARIAN_UNMATCHED", cost, told["cutoff"], told["matched"]),
    ]
    return Trace(
        prediction=prediction,
        ground_truth=box,
        candidate=torch.ones_like(told["matched"]),
        iou=boxes.iou(predictions.boxes[prediction], ground_truth.boxes[box]).clamp(0, 1),
        metric=cost,
        factors={name: told[name].nan_to_num() for name in PARTS},
        rank=told["rank"],
        tests=tuple(test for test in tests if test.reason != "NONFINITE" or not bool(test.passed.all())),
        metric_is_cost=True,
        candidates=candidates,
    )


def _test(reason: str, value: Tensor, cutoff: Tensor, passed: Tensor) -> Test:
    return Test(reason=reason, quantity="cost", value=value, cutoff=cutoff, passed=passed, cost=True)
