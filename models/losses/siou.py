"""SIoU loss: overlap, distance and direction of the centres, and difference of the shapes.

Gevorgyan, arXiv:2205.12740.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from posneg.models import boxes
from posneg.models.losses import loss

SEMANTICS = 1
SHAPE_POWER = 4


@loss("overlap")
def siou(
    prediction: Float[Tensor, "P 4"],
    target: Float[Tensor, "P 4"],
    *,
    flavor: Literal["paper", "mmdet"] = "paper",
    neg_gamma: bool = False,
) -> Float[Tensor, "P"]:
    """1 - IoU + (distance + shape) / 2.

    Angle: sin 2a = 2 |dx dy| / (dx² + dy²), a the direction from centre to centre. Distance: the sum over x
    and y of 1 - exp(-(2 - angle) (d / hull extent)²). Shape: the sum over sides of
    (1 - exp(-|difference| / longer side))⁴. Nothing is detached; where centres coincide the distance is 0.
    `mmdet` adds 1e-7 to dx and dy, bounds the loss to 0..2, and with `neg_gamma` false (its default) has the
    distance's sign turned, so that boxes apart cost less.
    """
    if flavor == "mmdet":
        return _mmdet(prediction, target, neg_gamma)
    offset = (target[:, :2] + target[:, 2:] - prediction[:, :2] - prediction[:, 2:]) / 2
    squared = (offset**2).sum(-1)
    apart = squared > 0
    angle = 2 * offset.prod(-1).abs() / torch.where(apart, squared, 1)
    distance = _distance(offset, boxes.hull_extents(prediction, target), -(2 - angle))
    overlap = boxes.iou(prediction, target)
    return 1 - overlap + (torch.where(apart, distance, 0) + _shape(prediction, target)) / 2


def _mmdet(prediction: Tensor, target: Tensor, neg_gamma: bool) -> Tensor:
    eps = 1e-7
    shared = boxes.intersection(prediction, target)
    overlap = shared / (boxes.area(prediction) + boxes.area(target) - shared + eps)
    offset = (target[:, :2] + target[:, 2:] - prediction[:, :2] - prediction[:, 2:]) / 2 + eps
    hypotenuse = (offset**2).sum(-1).sqrt()
    sine = offset.abs() / hypotenuse[:, None]
    chosen = torch.where(sine[:, 0] > math.sqrt(2) / 2, sine[:, 1], sine[:, 0])
    angle = torch.cos(2 * torch.asin(chosen) - math.pi / 2)
    width, height = boxes.hull_extents(prediction, target)
    hull = (width.clamp(min=eps), height.clamp(min=eps))
    distance = _distance(offset, hull, angle - 2 if neg_gamma else 2 - angle)
    value = overlap - (distance + _shape(prediction, target)) / 2
    return 1 - value.clamp(-1, 1)


def _distance(offset: Tensor, hull: tuple[Tensor, Tensor], rate: Tensor) -> Tensor:
    """2 - exp(rate (dx / width)²) - exp(rate (dy / height)²); no offset along a side without extent."""
    value = torch.zeros_like(rate)
    for axis, extent in enumerate(hull):
        ratio = torch.where(extent > 0, offset[:, axis] / torch.where(extent > 0, extent, 1), 0)
        value = value + 1 - torch.exp(rate * ratio**2)
    return value


def _shape(prediction: Tensor, target: Tensor) -> Tensor:
    value = torch.zeros_like(prediction[:, 0])
    for ours, true in zip(boxes.extents(prediction), boxes.extents(target), strict=True):
        longer = torch.maximum(ours, true)
        ratio = torch.where(longer > 0, (ours - true).abs() / torch.where(longer > 0, longer, 1), 0)
        value = value + (1 - torch.exp(-ratio)) ** SHAPE_POWER
    return value
