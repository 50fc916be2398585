"""Generalised IoU loss: overlap, and how much of the hull both boxes leave empty.

Rezatofighi et al., CVPR 2019, arXiv:1902.09630, algorithm 1.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from posneg.models import boxes
from posneg.models.losses import loss

SEMANTICS = 1
Flavor = Literal["ultralytics", "mmdet", "torchvision", "ppdet", "yolox"]


@loss("overlap")
def giou(
    prediction: Float[Tensor, "P 4"], target: Float[Tensor, "P 4"], *, flavor: Flavor = "ultralytics"
) -> Float[Tensor, "P"]:
    """1 - IoU + (hull - union) / hull: 0 when equal, towards 2 as the boxes part.

    The flavors differ in the epsilon that keeps union and hull from 0: added to both by `torchvision` (1e-7)
    and `ppdet` (1e-10), a lower bound of 1e-6 in `mmdet`, and in `ultralytics` 1e-7 on both and on each
    height; `yolox` adds 1e-16 to the union alone and bounds the result.
    """
    shared = boxes.intersection(prediction, target)
    hull_width, hull_height = boxes.hull_extents(prediction, target)
    hull = hull_width * hull_height
    union = boxes.area(prediction) + boxes.area(target) - shared
    if flavor == "mmdet":
        union, hull = union.clamp(min=1e-6), hull.clamp(min=1e-6)
        return 1 - shared / union + (hull - union) / hull
    if flavor == "yolox":
        value = shared / (union + 1e-16) - (hull - union) / hull.clamp(min=1e-16)
        return 1 - value.clamp(-1, 1)
    if flavor == "ultralytics":
        union = boxes.union_ultralytics(prediction, target, shared)
        hull = hull + 1e-7
        return 1 - shared / union + (hull - union) / hull
    eps = 1e-7 if flavor == "torchvision" else 1e-10
    if flavor == "ppdet":
        union = union + eps
        return 1 - shared / union + (hull + eps - union) / (hull + eps)
    return 1 - shared / (union + eps) + (hull - union) / (hull + eps)
