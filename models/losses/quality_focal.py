"""Quality focal loss: focal loss for soft targets, which say how good a box is.

Li et al., Generalized Focal Loss, NeurIPS 2020, arXiv:2006.04388, equation 4. The modulating factor is
differentiated through, as in mmdet.
"""

from typing import Annotated

from annotated_types import Ge
from jaxtyping import Bool, Float
from torch import Tensor

from posneg.models.losses import loss
from posneg.models.types import ClassScores

SEMANTICS = 1


@loss("classification")
def quality_focal(
    scores: ClassScores,
    target: Float[Tensor, "*#P C"] | None,
    label: Bool[Tensor, "*#P C"] | None = None,  # noqa: ARG001 - a target of 0 is a negative
    *,
    beta: Annotated[float, Ge(0)] = 2.0,
) -> Float[Tensor, "P C"]:
    """|y - p|^beta BCE(p, y)."""
    p = scores.all_probabilities
    distance = p if target is None else (target - p).abs()
    return distance**beta * scores.cross_entropy(target)
