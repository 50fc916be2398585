"""Objectness loss: whether there is anything at all."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from posneg.models.losses import loss

SEMANTICS = 1


@loss("logit")
def objectness(logit: Float[Tensor, "P"], target: Float[Tensor, "P"]) -> Float[Tensor, "P"]:
    """Binary cross-entropy of one logit a prediction against 1 for positives and 0 for negatives.

    Ren et al., Faster R-CNN, NeurIPS 2015, arXiv:1506.01497, equation 1; Ge et al., YOLOX, arXiv:2107.08430.
    """
    return functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
