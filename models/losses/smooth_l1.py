"""Smooth L1: quadratic near 0, linear beyond.

Girshick, Fast R-CNN, ICCV 2015, arXiv:1504.08083, equation 3.
"""

from typing import Annotated

from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from posneg.models.losses import loss

SEMANTICS = 1


@loss("coordinates")
def smooth_l1(
    prediction: Float[Tensor, "P 4"], target: Float[Tensor, "P 4"], *, beta: Annotated[float, Ge(0)] = 1.0
) -> Float[Tensor, "P 4"]:
    """d² / (2 beta) for a distance d below `beta`, else d - beta / 2; a `beta` of 0 is L1."""
    return functional.smooth_l1_loss(prediction, target, beta=beta, reduction="none")
