"""IoU loss, linear, logarithmic or squared.

Yu et al., UnitBox, ACM MM 2016, arXiv:1608.01471 (logarithmic); mmdet `IoULoss`; YOLOX `IOUloss` (squared).
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from posneg.models import boxes
from posneg.models.losses import loss

SEMANTICS = 1


@loss("overlap")
def iou(
    prediction: Float[Tensor, "P 4"],
    target: Float[Tensor, "P 4"],
    *,
    mode: Literal["linear", "log", "square"] = "linear",
) -> Float[Tensor, "P"]:
    """1 - IoU, -ln IoU or 1 - IoU²; the IoU is at least 1e-6, below which there is no gradient."""
    overlap = boxes.iou_mmdet(prediction, target).clamp(min=1e-6)
    match mode:
        case "log":
            return -overlap.log()
        case "square":
            return 1 - overlap**2
        case _:
            return 1 - overlap
