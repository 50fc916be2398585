"""Dynamic k: each box takes its cheapest predictions, as many as its best overlaps add up to.

Ge et al., OTA, CVPR 2021, arXiv:2103.14259, and YOLOX, arXiv:2107.08430, section 2. Candidates of an image
are the predictions whose point lies in the region of any of its boxes; each box may take any of them. k is
the sum of a box's `topk` largest IoUs, cut to a whole number and at least 1. A prediction that several boxes
take goes to the cheapest of all boxes of its image.

The assigners differ in the region and the cost, and hand these over as functions of index tensors that
broadcast: of a prediction, and of a ground truth.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from posneg.models.assigners._columns import assignment_of, weighable
from posneg.models.pairs import ImageRows, Pairs, nearest_pairs, rows_by_image, smallest_in_rows
from posneg.models.types import Assignment, GroundTruth, Predictions, Test, Trace

Measure = Callable[[Tensor, Tensor], Tensor]
"""Prediction index, ground truth index → a number; the shapes broadcast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What an assigner adds: `depth_px` in the region of a box (above 0: a candidate), overlap, and costs.

    `costs` names the parts that the cost is the sum of.
    """

    depth_px: Measure
    iou: Measure
    costs: Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]
    topk: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weighed:
    """One image: how deep each prediction lies in a region [N], and its candidates [n] against its boxes [G].

    `finite` is where the cost came out as a number; elsewhere it is the largest there is.
    """

    reach_px: Float[Tensor, "N"]
    prediction: Int[Tensor, "n"]
    ground_truth: Int[Tensor, "G"]
    inside: Bool[Tensor, "G n"]
    iou: Float[Tensor, "G n"]
    parts: dict[str, Tensor]
    cost: Float[Tensor, "G n"]
    finite: Bool[Tensor, "G n"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matched:
    """How an image came out: the pairs that boxes claim, the pairs that are matched, and each box's k."""

    claimed: Bool[Tensor, "G n"]
    won: Bool[Tensor, "G n"]
    k: Int[Tensor, "G"]


Columns = dict[str, Tensor]


def inside_px(predictions: Predictions, ground_truth: GroundTruth, p: Tensor, g: Tensor) -> Tensor:
    """Distance from each point to the nearest side of its box; negative outside."""
    x, y = predictions.points[:, 0][p], predictions.points[:, 1][p]
    left, top, right, bottom = (side[g] for side in ground_truth.boxes.T)
    return torch.minimum(torch.minimum(x - left, right - x), torch.minimum(y - top, bottom - y))


def match(
    predictions: Predictions,
    ground_truth: GroundTruth,
    rule: Callable[[Predictions, GroundTruth], Rule],
    *,
    trace: bool,
) -> Assignment:
    """The assignment by a rule, which is made of what is weighed (never in half precision)."""
    wide, truth = weighable(predictions, ground_truth)
    own, usable = rule(wide, truth), ~truth.ignore
    none, nothing = wide.image[:0], wide.strides[:0]
    found, told = [(none, none, nothing, nothing)], []
    reach = torch.full_like(wide.strides, -torch.inf)
    for rows in rows_by_image(wide, truth, usable):
        weighed = _weigh(wide, rows, own)
        reach[rows.predictions] = weighed.reach_px
        if len(weighed.prediction) == 0:
            continue
        matched = _match(weighed, own.topk)
        box, at = matched.won.nonzero().T
        pair = (weighed.prediction[at], weighed.ground_truth[box])
        found.append((*pair, weighed.iou[box, at], weighed.cost[box, at]))
        if trace:
            told.append(_told(weighed, matched))
    prediction, box, iou, cost = (torch.cat(column) for column in zip(*found, strict=True))
    result = assignment_of(
        predictions,
        prediction=prediction,
        ground_truth=box,
        degenerate=torch.zeros_like(usable),
        iou=iou,
        metric=cost,
        quality=iou,
        reason="DYNAMIC_K",
    )
    if not trace:
        return result
    told.append(_told_of_the_rest(nearest_pairs(wide, truth, usable), own, told))
    return replace(result, trace=_trace(told, reach))


def _weigh(predictions: Predictions, rows: ImageRows, rule: Rule) -> _Weighed:
    start, stop, _ = rows.predictions.indices(len(predictions.boxes))
    numbers = torch.arange(start, stop, device=predictions.image.device)
    box = rows.ground_truth[:, None]
    depth = rule.depth_px(numbers[None], box)  # [G, N]
    reach = depth.amax(0)
    candidate = reach > 0
    if predictions.finite is not None:
        candidate &= predictions.finite[rows.predictions]
    chosen = numbers[candidate]
    iou = rule.iou(chosen[None], box)
    parts, cost, finite = _cost(rule, chosen[None], box, iou)
    return _Weighed(
        reach_px=reach,
        prediction=chosen,
        ground_truth=rows.ground_truth,
        inside=depth[:, candidate] > 0,
        iou=iou,
        parts=parts,
        cost=cost,
        finite=finite,
    )


def _cost(rule: Rule, p: Tensor, g: Tensor, iou: Tensor) -> tuple[Columns, Tensor, Tensor]:
    """The parts and their sum, both made finite; and where the sum was."""
    parts = rule.costs(p, g, iou)
    total = torch.stack([part.expand_as(iou) for part in parts.values()]).sum(0)
    largest = torch.finfo(total.dtype).max
    finite = {name: part.expand_as(iou).nan_to_num(largest) for name, part in parts.items()}
    return finite, total.nan_to_num(largest), total.isfinite()


def _match(weighed: _Weighed, topk: int) -> _Matched:
    """Each box's k cheapest; a contested prediction goes to its cheapest box, the first of equals."""
    cost, count = weighed.cost, weighed.cost.shape[1]
    k = weighed.iou.topk(min(topk, count), dim=1).values.sum(1).long().clamp(1, count)
    box, at, rank = smallest_in_rows(cost, int(k.max()))
    claimed = torch.zeros_like(weighed.inside)
    claimed[box, at] = rank < k[box]
    contested = claimed.sum(0) > 1
    cheapest = torch.zeros_like(claimed).scatter(0, cost.argmin(0, keepdim=True), True)
    return _Matched(claimed=claimed, won=torch.where(contested, cheapest, claimed), k=k)


def _told(weighed: _Weighed, matched: _Matched) -> Columns:
    """The pairs that an explanation names: regions, claims, matches, and each candidate's cheapest box."""
    cost = weighed.cost
    told = weighed.inside | matched.claimed | matched.won
    told = told.scatter(0, cost.argmin(0, keepdim=True), True)
    box, at = told.nonzero().T
    ordered, order = cost.sort(dim=1, stable=True)
    places = torch.arange(cost.shape[1], device=cost.device).expand_as(order)
    rank = torch.empty_like(order).scatter(1, order, places)
    padded = torch.cat([ordered, torch.full_like(ordered[:, :1], torch.nan)], 1)
    within = matched.claimed[box, at]
    limit = padded[box, matched.k[box] - 1 + within.long()]
    boxes_of_one = torch.cat([cost, torch.full_like(cost[:1], torch.nan)]).sort(dim=0).values  # NaN last
    claimed, won = matched.claimed, matched.won
    rival = torch.where(won, boxes_of_one[1], boxes_of_one[0])
    rival = torch.where((claimed.sum(0) > 1) & (claimed | won), rival, torch.nan)
    return {
        "prediction": weighed.prediction[at],
        "ground_truth": weighed.ground_truth[box],
        "candidate": weighed.inside[box, at],
        "iou": weighed.iou[box, at],
        "cost": cost[box, at],
        "finite": weighed.finite[box, at] | won[box, at],
        "rank": rank[box, at] + 1,
        "within": within,
        "limit": limit,
        "kept": (won | ~claimed)[box, at],
        "rival": rival[box, at],
        **{f"part {name}": part[box, at] for name, part in weighed.parts.items()},
    }


def _told_of_the_rest(nearest: Pairs, rule: Rule, told: list[Columns]) -> Columns:
    """Predictions that are no candidates, each with its nearest box, and boxes without candidates."""
    candidates = torch.cat([nearest.prediction[:0], *(columns["prediction"] for columns in told)])
    pairs = nearest.take(~torch.isin(nearest.prediction, candidates))
    iou = rule.iou(pairs.prediction, pairs.ground_truth)
    parts, cost, finite = _cost(rule, pairs.prediction, pairs.ground_truth, iou)
    no, nan = torch.zeros_like(finite), torch.full_like(cost, torch.nan)
    return {
        "prediction": pairs.prediction,
        "ground_truth": pairs.ground_truth,
        "candidate": no,
        "iou": iou,
        "cost": cost,
        "finite": finite,
        "rank": torch.zeros_like(pairs.prediction),
        "within": no,
        "limit": nan,
        "kept": ~no,
        "rival": nan,
        **{f"part {name}": part for name, part in parts.items()},
    }


def _trace(told: list[Columns], reach_px: Float[Tensor, "N"]) -> Trace:
    """All that was told, in order of ground truth, and the tests."""
    columns = {name: torch.cat([some[name] for some in told]) for name in told[0]}
    order = (columns["ground_truth"] * len(reach_px) + columns["prediction"]).argsort()
    columns = {name: column[order] for name, column in columns.items()}
    cost, reach = columns["cost"], reach_px[columns["prediction"]]
    tests = [
        Test(
            reason="NOT_A_CANDIDATE",
            quantity="distance_to_side",
            value=reach,
            cutoff=torch.zeros_like(reach),
            passed=reach > 0,
        ),
        _cost_test("NONFINITE", cost, torch.full_like(cost, torch.nan), columns["finite"]),
        _cost_test("RANK_OUT_OF_TOPK", cost, columns["limit"], columns["within"]),
        _cost_test("LOST_CONFLICT", cost, columns["rival"], columns["kept"]),
    ]
    return Trace(
        prediction=columns["prediction"],
        ground_truth=columns["ground_truth"],
        candidate=columns["candidate"],
        iou=columns["iou"],
        metric=cost,
        factors={n.removeprefix("part "): c for n, c in columns.items() if n.startswith("part ")},
        rank=columns["rank"],
        tests=tuple(test for test in tests if test.reason != "NONFINITE" or not bool(test.passed.all())),
        metric_is_cost=True,
    )


def _cost_test(reason: str, value: Tensor, cutoff: Tensor, passed: Tensor) -> Test:
    return Test(reason=reason, quantity="cost", value=value, cutoff=cutoff, passed=passed, cost=True)
