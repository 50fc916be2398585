"""Centerness loss: how far from the middle of its box a positive looks."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from posneg.models.losses import loss

SEMANTICS = 1


@loss("logit")
def centerness(logit: Float[Tensor, "P"], target: Float[Tensor, "P"]) -> Float[Tensor, "P"]:
    """Binary cross-entropy of a positive's logit against sqrt(min(l, r) / max(l, r) · min(t, b) / max(t, b)).

    Tian et al., FCOS, ICCV 2019, arXiv:1904.01355, equation 3. The target is soft, so the least is not 0.
    """
    return functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
