"""Distance IoU loss: overlap, and how far the centres are apart.

Zheng et al., AAAI 2020, arXiv:1911.08287, equation 7.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from posneg.models import boxes
from posneg.models.losses import loss

SEMANTICS = 1


@loss("overlap")
def diou(
    prediction: Float[Tensor, "P 4"],
    target: Float[Tensor, "P 4"],
    *,
    flavor: Literal["torchvision", "mmdet", "ultralytics"] = "torchvision",
) -> Float[Tensor, "P"]:
    """1 - IoU + (distance of the centres / diagonal of the hull)².

    The flavors differ in where 1e-7 goes, as in `ciou`.
    """
    return 1 - boxes.iou_flavored(prediction, target, flavor) + boxes.distance_penalty(prediction, target)
