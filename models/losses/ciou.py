"""Complete IoU loss: overlap, distance of the centres, and difference of the aspect ratios.

Zheng et al., AAAI 2020, arXiv:1911.08287, equations 8 to 11. The trade-off factor is a constant for the
gradient.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from posneg.models import boxes
from posneg.models.losses import loss

SEMANTICS = 1


@loss("overlap")
def ciou(
    prediction: Float[Tensor, "P 4"],
    target: Float[Tensor, "P 4"],
    *,
    flavor: Literal["ultralytics", "mmdet", "torchvision"] = "ultralytics",
) -> Float[Tensor, "P"]:
    """1 - IoU + distance penalty + trade-off · aspect.

    `mmdet` leaves the aspect out below an IoU of 0.5 and bounds the result to 0..2; its own value for
    equal boxes is 0/0, ours 0. `torchvision` has no epsilon in the aspect ratio: a box without extent, NaN
    there, has an aspect of 0 here.
    """
    if flavor == "ultralytics":
        return 1 - boxes.ciou_ultralytics(target, prediction)
    overlap = boxes.iou_flavored(prediction, target, flavor)
    eps = 1e-7 if flavor == "mmdet" else 0.0
    aspect = boxes.aspect_difference(prediction, target, eps=eps)
    with torch.no_grad():
        trade_off = _trade_off(overlap, aspect, flavor)
    value = overlap - boxes.distance_penalty(prediction, target) - trade_off * aspect
    return 1 - (value.clamp(-1, 1) if flavor == "mmdet" else value)


def _trade_off(overlap: Tensor, aspect: Tensor, flavor: str) -> Tensor:
    denominator = 1 - overlap + aspect
    if flavor == "torchvision":
        return aspect / (denominator + 1e-7)
    nonzero = denominator > 0
    factor = aspect / torch.where(nonzero, denominator, 1)
    return torch.where(nonzero & (overlap > 0.5), factor, 0)
