"""Binary cross-entropy per class."""

from jaxtyping import Bool, Float
from torch import Tensor

from posneg.models.losses import loss
from posneg.models.types import ClassScores

SEMANTICS = 1


@loss("classification")
def binary_cross_entropy(
    scores: ClassScores,
    target: Float[Tensor, "*#P C"] | None,
    label: Bool[Tensor, "*#P C"] | None = None,  # noqa: ARG001 - soft targets say it all
) -> Float[Tensor, "P C"]:
    """-(y ln p + (1 - y) ln(1 - p)), y in 0..1.

    From logits it is softplus(x) - x y, without overflow; from probabilities each logarithm is at least -100
    (torch.nn.functional.binary_cross_entropy).
    """
    return scores.cross_entropy(target)
