"""Reasons and margins: for each prediction and each ground truth the pair and the test that decided.

A prediction's pair is its match, or else the pair that got furthest through the assigner's tests (then the
one with the larger IoU). The deciding test is the first one failed or, for a match, the tightest one passed.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from posneg.models.pairs import best_in_group
from posneg.models.types import Assignment, Batch, Trace

NO_PAIR = "NOT_A_CANDIDATE"
CODES = frozenset(
    {
        "TOP_K",
        "ABOVE_THRESHOLD",
        "LOW_QUALITY_MATCH",
        "HUNGARIAN",
        "DYNAMIC_K",
        "BELOW_THRESHOLD",
        "IN_IGNORE_BAND",
        "RANK_OUT_OF_TOPK",
        "NO_CENTER_INSIDE",
        "OUT_OF_SCALE_RANGE",
        "LOST_CONFLICT",
        "NOT_A_CANDIDATE",
        "HUNGARIAN_UNMATCHED",
        "IGNORED_BY_REGION",
        "NOT_SAMPLED",
        "NONFINITE",
        "DEGENERATE",
        "NO_PREDICTIONS",
    }
)
"""Every reason that an answer may give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What the assigner's tests said of each weighed pair.

    `test` is the deciding test's number, -1 where none had a rival; `value`, `cutoff` and `margin` are that
    test's, NaN there. `stage` counts the tests passed before the first one failed.
    """

    matched: Bool[Tensor, "P"]
    stage: Int[Tensor, "P"]
    test: Int[Tensor, "P"]
    value: Float[Tensor, "P"]
    cutoff: Float[Tensor, "P"]
    margin: Float[Tensor, "P"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """The pair and the reason of each prediction and each ground truth; a `..._pair` of -1 is none."""

    verdicts: Verdicts
    prediction_pair: Int[Tensor, "N"]
    prediction_reason: list[str]
    ground_truth_pair: Int[Tensor, "G"]
    ground_truth_reason: list[str | None]
    candidates: Int[Tensor, "G"]


def explain(batch: Batch, assignment: Assignment) -> Reasons:
    """Reasons of a traced assignment."""
    trace = assignment.trace
    assert trace is not None, "only a traced assignment can be explained"
    verdicts = _judge(trace, assignment)
    count, boxes = len(assignment.positive), len(assignment.degenerate)
    order = verdicts.matched.long() * (len(trace.tests) + 1) + verdicts.stage
    goodness = -trace.metric if trace.metric_is_cost else trace.metric
    prediction_pair = _best_pair(trace.prediction, count, order, trace.iou, goodness)
    ground_truth_pair = _best_pair(trace.ground_truth, boxes, order, goodness, trace.iou)
    candidates = torch.bincount(trace.ground_truth[trace.candidate], minlength=boxes)
    candidates = candidates if trace.candidates is None else trace.candidates
    failed = [*(test.reason for test in trace.tests), "TOP_K"]
    return Reasons(
        verdicts=verdicts,
        prediction_pair=prediction_pair,
        prediction_reason=_prediction_reasons(assignment, verdicts, prediction_pair, failed),
        ground_truth_pair=ground_truth_pair,
        ground_truth_reason=_ground_truth_reasons(
            batch, assignment, verdicts, ground_truth_pair, failed, candidates
        ),
        candidates=candidates,
    )


def relative_margin(value: Tensor, cutoff: Tensor, *, cost: bool = False) -> Tensor:
    """(value - cut-off) / max(|value|, |cut-off|), turned for a cost; NaN where there is no rival."""
    scale = torch.maximum(value.abs(), cutoff.abs())
    margin = torch.where(scale > 0, (value - cutoff) / torch.where(scale > 0, scale, 1), 0)
    margin = torch.where(cutoff.isnan(), torch.nan, margin)
    return -margin if cost else margin


def _judge(trace: Trace, assignment: Assignment) -> Verdicts:
    matched = assignment.positive[trace.prediction] & (
        assignment.ground_truth[trace.prediction] == trace.ground_truth
    )
    passed = torch.stack([test.passed for test in trace.tests])  # [T, P]
    value = torch.stack([test.value for test in trace.tests])
    cutoff = torch.stack([test.cutoff for test in trace.tests])
    margin = torch.stack([relative_margin(t.value, t.cutoff, cost=t.cost) for t in trace.tests])
    stage = passed.long().cumprod(0).sum(0)
    tightness = torch.where(passed & ~margin.isnan(), margin, torch.inf)
    tightest = torch.where(tightness.amin(0) < torch.inf, tightness.argmin(0), -1)
    first_failed = torch.where(stage < len(trace.tests), stage, -1)
    test = torch.where(matched, tightest, first_failed)
    picked = test.clamp(min=0)[None]

    def decided(values: Tensor) -> Tensor:
        return torch.where(test >= 0, values.gather(0, picked)[0], torch.nan)

    return Verdicts(
        matched=matched,
        stage=stage,
        test=test,
        value=decided(value),
        cutoff=decided(cutoff),
        margin=decided(margin),
    )


def _best_pair(group: Int[Tensor, "P"], groups: int, *keys: Tensor) -> Int[Tensor, "groups"]:
    pair = torch.full((groups,), -1, dtype=torch.long, device=group.device)
    present, position = best_in_group(group, *keys)
    pair[present] = position
    return pair


def _prediction_reasons(
    assignment: Assignment, verdicts: Verdicts, pair: Int[Tensor, "N"], failed: list[str]
) -> list[str]:
    """The assigner's own word for positives and ignored ones, the first failed test for the rest."""
    own = assignment.positive | assignment.ignored
    codes = assignment.reason if assignment.reason is not None else torch.zeros_like(pair)
    stage = torch.where(pair >= 0, verdicts.stage[pair.clamp(min=0)], -1) if len(verdicts.stage) else pair
    return [
        assignment.reasons[code] if mine else (NO_PAIR if at < 0 else failed[at])
        for mine, code, at in zip(own.tolist(), codes.tolist(), stage.tolist(), strict=True)
    ]


def _ground_truth_reasons(
    batch: Batch,
    assignment: Assignment,
    verdicts: Verdicts,
    pair: Int[Tensor, "G"],
    failed: list[str],
    candidates: Int[Tensor, "G"],
) -> list[str | None]:
    """Why each box got nothing; None for those that got something."""
    truth = batch.ground_truth
    got = torch.bincount(assignment.ground_truth[assignment.positive], minlength=len(pair)) > 0
    image, finite = batch.predictions.image, batch.predictions.finite
    took_part = image if finite is None else image[finite]
    predictions = torch.bincount(took_part, minlength=batch.images)[truth.image]
    reasons: list[str | None] = []
    for box, at in enumerate(pair.tolist()):
        if got[box] or truth.ignore[box]:
            reasons.append(None)
        elif assignment.degenerate[box]:
            reasons.append("DEGENERATE")
        elif predictions[box] == 0:
            reasons.append("NO_PREDICTIONS")
        elif candidates[box] == 0:
            reasons.append("NO_CENTER_INSIDE")
        else:
            reasons.append(failed[int(verdicts.stage[at])] if at >= 0 else NO_PAIR)
    return reasons
