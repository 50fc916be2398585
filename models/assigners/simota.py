"""SimOTA: each box takes its cheapest predictions near its centre, by class and overlap.

Ge et al., YOLOX, arXiv:2107.08430, section 2.1, after OTA, CVPR 2021, arXiv:2103.14259. Cost of a pair =
`classification_weight` * BCE(p, one-hot) + `iou_weight` * -ln(IoU + eps) + a penalty outside the box's centre
region, the square of `center_radius` strides about its centre. p is the class probability, times that of the
objectness under a root where there is one; each logarithm is at least -100.

- `yolox` (`YOLOXHead.get_assignments`): candidates lie in the centre region of any box; eps 1e-8; penalty
  1e6.
- `mmdet` (`SimOTAAssigner`): in any box or in any centre region; eps 1e-7; penalty 1e5 unless in both.

Without candidates the image is background, where YOLOX raises. The class target is the IoU of the match.
"""

from functools import partial
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from posneg.models import boxes
from posneg.models.assigners import assigner
from posneg.models.assigners._dynamic_k import Rule, inside_px, match
from posneg.models.types import Assignment, GroundTruth, Predictions

SEMANTICS = 1
Flavor = Literal["yolox", "mmdet"]
BY_FLAVOR = {"center_radius": {"yolox": 1.5, "mmdet": 2.5}}  # what null stands for
PENALTY = {"yolox": 1e6, "mmdet": 1e5}
IOU_EPS = {"yolox": 1e-8, "mmdet": 1e-7}


@assigner
@torch.no_grad()
def simota(
    predictions: Predictions,
    ground_truth: GroundTruth,
    *,
    flavor: Flavor = "yolox",
    center_radius: Annotated[float, Gt(0)] | None = None,
    candidate_topk: Annotated[int, Ge(1)] = 10,
    iou_weight: Annotated[float, Ge(0)] = 3.0,
    classification_weight: Annotated[float, Ge(0)] = 1.0,
    trace: bool = False,
) -> Assignment:
    """Give each box its k candidates of least classification and IoU cost, k the sum of its largest IoUs.

    `center_radius` counts strides; null is 1.5 for `yolox` and 2.5 for `mmdet`. `candidate_topk` IoUs are
    summed. The metric is the cost, less is better.
    """
    radius = BY_FLAVOR["center_radius"][flavor] if center_radius is None else center_radius

    def rule(wide: Predictions, truth: GroundTruth) -> Rule:
        function = boxes.iou if flavor == "yolox" else boxes.iou_mmdet
        inside = partial(inside_px, wide, truth)

        def centered(p: Tensor, g: Tensor) -> Tensor:
            return _center_depth(wide, truth, radius, p, g)

        def depth(p: Tensor, g: Tensor) -> Tensor:
            return centered(p, g) if flavor == "yolox" else torch.maximum(centered(p, g), inside(p, g))

        def outside(p: Tensor, g: Tensor) -> Tensor:
            near = centered(p, g) > 0
            return ~(near if flavor == "yolox" else near & (inside(p, g) > 0))

        def costs(p: Tensor, g: Tensor, iou: Tensor) -> dict[str, Tensor]:
            return {
                "classification": classification_weight * _class_cost(wide, truth, p, g),
                "iou": -iou_weight * torch.log(iou + IOU_EPS[flavor]),
                "outside": PENALTY[flavor] * outside(p, g).to(iou.dtype),
            }

        return Rule(
            depth_px=depth,
            iou=lambda p, g: function(wide.boxes[p], truth.boxes[g]).clamp(0, 1),
            costs=costs,
            topk=candidate_topk,
        )

    return match(predictions, ground_truth, rule, trace=trace)


def _center_depth(
    predictions: Predictions, ground_truth: GroundTruth, radius: float, p: Tensor, g: Tensor
) -> Tensor:
    """Distance from each point to the nearest side of the square about the box's centre; negative outside."""
    reach = radius * predictions.strides[p]
    depths = []
    for axis in range(2):
        at = predictions.points[:, axis][p]
        center = ((ground_truth.boxes[:, axis] + ground_truth.boxes[:, axis + 2]) / 2)[g]
        depths.append(torch.minimum(at - (center - reach), (center + reach) - at))
    return torch.minimum(*depths)


def _class_cost(predictions: Predictions, ground_truth: GroundTruth, p: Tensor, g: Tensor) -> Tensor:
    """Cross-entropy against the box's class, over all classes; never a tensor of pairs by classes."""
    values, objectness = predictions.scores.values, predictions.objectness

    def probability(scores: Tensor, logit: Tensor | None) -> Tensor:
        scores = scores.sigmoid() if predictions.scores.logits is not None else scores.clamp(0, 1)
        return scores if logit is None else (scores * logit.sigmoid()).sqrt()

    every = probability(values[p], None if objectness is None else objectness[p, None])
    own = probability(values[p, ground_truth.labels[g]], None if objectness is None else objectness[p])
    absent = -torch.log1p(-own).clamp(min=-100)
    present = -torch.log(own).clamp(min=-100)
    return -torch.log1p(-every).clamp(min=-100).sum(-1) - absent + present
