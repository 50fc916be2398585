"""Cross-entropy over classes and background, the background last."""

from typing import Annotated

from annotated_types import Ge
from jaxtyping import Float, Int
from torch import Tensor

from posneg.models.losses import loss
from posneg.models.types import ClassScores

SEMANTICS = 1


@loss("softmax")
def cross_entropy(
    scores: ClassScores,
    label: Int[Tensor, "P"],
    *,
    background_weight: Annotated[float, Ge(0)] = 1.0,  # noqa: ARG001 - the criterion weighs rows
) -> Float[Tensor, "P"]:
    """-ln p of each row's class, p the softmax of C + 1 logits; class C is the background.

    From probabilities each logarithm is at least -100. `background_weight` is the background's class weight
    (DETR: 0.1); classes count 1, or what `class_weights` says.
    """
    return -scores.log_softmax.gather(1, label[:, None])[:, 0]
