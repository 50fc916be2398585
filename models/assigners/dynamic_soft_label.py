"""Dynamic soft label assignment: SimOTA with soft classification cost and a soft centre region.

Lyu et al., RTMDet, arXiv:2212.07784, section 3.3, as mmdet's `DynamicSoftLabelAssigner` has it. Candidates
are the points strictly inside any box. Cost of a pair = sum over classes of BCE(x, y) * |y - sigmoid(x)|^2,
the soft label y being the IoU u for the box's class, + `iou_weight` * -ln(u + 1e-7)
+ 10^(d - `soft_center_radius`), d the distance from the point to the box's centre in strides. The class
target is the IoU of the match.

Without candidates the image is background. A box without points of its own takes one of the others'.
"""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn import functional

from posneg.models import boxes
from posneg.models.assigners import assigner
from posneg.models.assigners._dynamic_k import Rule, inside_px, match
from posneg.models.types import Assignment, GroundTruth, Predictions

SEMANTICS = 1
IOU_EPS = 1e-7


@assigner
@torch.no_grad()
def dynamic_soft_label(
    predictions: Predictions,
    ground_truth: GroundTruth,
    *,
    flavor: Literal["mmdet"] = "mmdet",  # noqa: ARG001 - the one there is
    soft_center_radius: Annotated[float, Ge(0)] = 3.0,
    topk: Annotated[int, Ge(1)] = 13,
    iou_weight: Annotated[float, Ge(0)] = 3.0,
    trace: bool = False,
) -> Assignment:
    """Give each box its k candidates of least soft class, IoU and distance cost, k the sum of its best IoUs.

    `topk` IoUs are summed. The metric is the cost, less is better.
    """

    def rule(wide: Predictions, truth: GroundTruth) -> Rule:
        def costs(p: Tensor, g: Tensor, iou: Tensor) -> dict[str, Tensor]:
            distance = _distance(wide, truth, p, g) / wide.strides[p]
            return {
                "classification": _class_cost(wide, truth, p, g, iou),
                "iou": -iou_weight * torch.log(iou + IOU_EPS),
                "center": torch.exp((distance - soft_center_radius) * math.log(10)),
            }

        return Rule(
            depth_px=lambda p, g: inside_px(wide, truth, p, g),
            iou=lambda p, g: boxes.iou_mmdet(wide.boxes[p], truth.boxes[g]).clamp(0, 1),
            costs=costs,
            topk=topk,
        )

    return match(predictions, ground_truth, rule, trace=trace)


def _distance(predictions: Predictions, ground_truth: GroundTruth, p: Tensor, g: Tensor) -> Tensor:
    """Between point and centre of the box, in pixels."""
    center = boxes.centers(ground_truth.boxes)
    x, y = (predictions.points[:, axis][p] - center[:, axis][g] for axis in range(2))
    return (x * x + y * y).sqrt()


def _class_cost(
    predictions: Predictions, ground_truth: GroundTruth, p: Tensor, g: Tensor, iou: Tensor
) -> Tensor:
    """Cross-entropy times squared error, over all classes; never a tensor of pairs by classes."""
    scores = predictions.scores

    def cost(values: Tensor, target: Tensor) -> Tensor:
        if scores.logits is not None:
            entropy = functional.binary_cross_entropy_with_logits(values, target, reduction="none")
            return entropy * (target - values.sigmoid()) ** 2
        entropy = functional.binary_cross_entropy(values, target, reduction="none")
        return entropy * (target - values) ** 2

    values = scores.values if scores.logits is not None else scores.values.clamp(0, 1)
    every, own = values[p], values[p, ground_truth.labels[g]]
    absent = torch.zeros_like(own)
    return cost(every, torch.zeros_like(every)).sum(-1) - cost(own, absent) + cost(own, iou)
