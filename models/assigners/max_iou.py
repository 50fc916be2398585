"""Assignment by the largest IoU with an anchor, with a band of anchors that are neither.

Girshick et al. 2014 and Ren et al., Faster R-CNN, NeurIPS 2015, arXiv:1506.01497, section 3.1.2. An anchor
whose largest IoU reaches `positive_iou` takes that box, one below `negative_iou` is background, between them
it is ignored. A box that would get nothing may take the anchors closest to it (`match_low_quality`), where
the flavors differ:

- `torchvision` (`Matcher`): each anchor tied for a box's largest IoU goes to the anchor's *own* best box.
- `mmdet` (`MaxIoUAssigner`): each such anchor goes to *that* box, later boxes overwriting earlier ones; the
  union of two boxes is at least 1e-6.

With `minimum_positive_iou` 0 a box that overlaps nothing takes every anchor of IoU 0, as in both upstreams.
Boxes are matched with `anchors` where there are any, else with the predicted boxes.
"""

from dataclasses import replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from jaxtyping import Bool, Float, Int
from torch import Tensor

from posneg.models import boxes
from posneg.models.assigners import assigner
from posneg.models.assigners._columns import excused_by_regions
from posneg.models.pairs import rows_by_image
from posneg.models.types import Assignment, GroundTruth, Predictions, Test, Trace

SEMANTICS = 1
REASONS = ("ABOVE_THRESHOLD", "LOW_QUALITY_MATCH", "IN_IGNORE_BAND", "IGNORED_BY_REGION")
ABOVE, LOW_QUALITY, BAND, REGION = range(4)
Fraction = Annotated[float, Ge(0), Le(1)]


@assigner
@torch.no_grad()
def max_iou(
    predictions: Predictions,
    ground_truth: GroundTruth,
    *,
    flavor: Literal["mmdet", "torchvision"] = "mmdet",
    positive_iou: Fraction = 0.5,
    negative_iou: Fraction | tuple[Fraction, Fraction] = 0.4,
    minimum_positive_iou: Fraction = 0.0,
    match_low_quality: bool = True,
    assign_all_ties: bool = True,
    ignore_iof_threshold: float | None = None,
    ignore_with_respect_to: Literal["prediction", "region"] = "prediction",
    trace: bool = False,
) -> Assignment:
    """Give each anchor the box it overlaps most, if that is enough, and each box its closest anchors.

    An anchor that an ignored region covers by more than `ignore_iof_threshold` (of the anchor's area, or of
    the region's) is ignored; null or 0 turns that off.
    """
    low, high = negative_iou if isinstance(negative_iou, tuple | list) else (0.0, negative_iou)
    usable = ~ground_truth.ignore
    anchors = predictions.boxes if predictions.anchors is None else predictions.anchors
    excused = excused_by_regions(
        predictions, anchors, ground_truth, ignore_iof_threshold, ignore_with_respect_to
    )

    width, height = boxes.extents(anchors)
    flat = (width <= 0) | (height <= 0)  # background: no offset can be measured from an anchor without area

    column = anchors.new_zeros(len(anchors))
    best, matched = column.clone(), torch.zeros_like(predictions.image)
    positive = torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
    low_quality = positive.clone()
    weighed: list[tuple[Tensor, Tensor, Tensor]] = []  # prediction, ground truth, IoU of each pair to tell of
    for rows in rows_by_image(predictions, ground_truth, usable):
        out = (excused if predictions.finite is None else excused | ~predictions.finite)[rows.predictions]
        iou = _iou(
            ground_truth.boxes[rows.ground_truth][:, None], anchors[rows.predictions][None], flavor
        )  # [G, N]
        iou = torch.where(out | flat[rows.predictions], -1.0, iou)
        highest, argmax = iou.max(0)
        best[rows.predictions] = torch.where(flat[rows.predictions] & ~out, 0, highest)
        index = argmax.clone()
        restored = _low_quality(iou, index, minimum_positive_iou, assign_all_ties, flavor == "torchvision")
        above = best[rows.predictions] >= positive_iou
        restored = restored & match_low_quality & ~out
        index = torch.where(restored, index, argmax)
        matched[rows.predictions] = rows.ground_truth[index]
        positive[rows.predictions] = above | restored
        low_quality[rows.predictions] = restored & (~above | (index != argmax))
        column[rows.predictions] = iou.gather(0, index[None])[0].clamp(min=0)
        if trace:
            weighed.extend(_told(rows.predictions.start, rows.ground_truth, iou, index))

    negative = ~positive & (best >= low) & (best < high) & ~excused
    if not bool(usable.any()):
        negative = ~excused
    ignored = ~(positive | negative)
    reason = torch.where(
        ignored, torch.where(excused, REGION, BAND), torch.where(low_quality, LOW_QUALITY, ABOVE)
    )
    result = Assignment(
        positive=positive,
        ignored=ignored,
        ground_truth=torch.where(positive, matched, 0),
        iou=torch.where(positive, column, 0),
        metric=torch.where(positive, column, 0),
        quality=torch.where(positive, column, 0),
        degenerate=torch.zeros_like(usable),
        reason=reason,
        reasons=REASONS,
    )
    if not trace:
        return result
    told = _trace(weighed, result, positive_iou, high, column)
    return replace(result, trace=told)


def _iou(a: Tensor, b: Tensor, flavor: str) -> Tensor:
    return boxes.iou_mmdet(a, b) if flavor == "mmdet" else boxes.iou(a, b)


def _low_quality(
    iou: Float[Tensor, "G N"], index: Int[Tensor, "N"], minimum: float, all_ties: bool, own_best: bool
) -> Bool[Tensor, "N"]:
    """Anchors closest to some box; `index` is overwritten with that box unless they keep their own best."""
    restored = torch.zeros_like(index, dtype=torch.bool)
    for box, row in enumerate(iou):
        closest = row.max()
        if closest < minimum:
            continue
        ties = row == closest
        if not all_ties:
            first = ties.int().argmax()
            ties = torch.zeros_like(ties).index_fill(0, first, True)
        restored |= ties
        if not own_best:
            index[ties] = box
    return restored


def _told(
    start: int, ground_truth: Int[Tensor, "G"], iou: Float[Tensor, "G N"], index: Int[Tensor, "N"]
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The pairs that an explanation names: each anchor's best box and its match, each box's best anchor."""
    numbers, rows = (torch.arange(iou.shape[axis], device=iou.device) for axis in (1, 0))
    best_box, best_anchor = iou.argmax(0), iou.argmax(1)
    picked = [(numbers, best_box), (numbers, index), (best_anchor, rows)]
    return [(n + start, ground_truth[g], iou[g, n].clamp(min=0)) for n, g in picked]


def _trace(
    weighed: list[tuple[Tensor, Tensor, Tensor]],
    result: Assignment,
    positive_iou: float,
    negative_iou: float,
    iou_of_match: Float[Tensor, "N"],
) -> Trace:
    """The one test, IoU against the cut-off that decided: to be positive, or to be background."""
    empty = result.ground_truth[:0]
    keys = torch.cat([empty, *(g * len(result.positive) + n for n, g, _ in weighed)])
    keys, first = _first_of_each(keys)
    iou = torch.cat([iou_of_match[:0], *(v for _, _, v in weighed)])[first]
    count = max(len(result.positive), 1)
    prediction, ground_truth = keys % count, keys // count
    matched = result.positive[prediction] & (result.ground_truth[prediction] == ground_truth)
    elsewhere = result.positive[prediction] & ~matched
    cutoff = torch.full_like(iou, positive_iou)
    cutoff = torch.where(iou < negative_iou, torch.full_like(iou, negative_iou), cutoff)
    above = iou >= positive_iou
    cutoff = torch.where(matched & ~above, torch.nan, cutoff)  # a low-quality match has no rival
    enough = Test(reason="BELOW_THRESHOLD", quantity="iou", value=iou, cutoff=cutoff, passed=above | matched)
    rival = torch.where(elsewhere & above, iou_of_match[prediction], torch.nan)
    first_choice = Test(
        reason="LOST_CONFLICT", quantity="iou", value=iou, cutoff=rival, passed=~(elsewhere & above)
    )
    return Trace(
        prediction=prediction,
        ground_truth=ground_truth,
        candidate=torch.ones_like(matched),
        iou=iou,
        metric=iou,
        factors={},
        rank=torch.zeros_like(prediction),
        tests=(enough, first_choice),
    )


def _first_of_each(keys: Int[Tensor, "P"]) -> tuple[Int[Tensor, "Q"], Int[Tensor, "Q"]]:
    """The distinct keys in order, and where each first stands."""
    order = keys.sort(stable=True).indices
    ordered = keys[order]
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return ordered[new], order[new]
