"""Focal loss: binary cross-entropy that fades where the prediction is already right.

Lin et al., ICCV 2017, arXiv:1708.02002, equation 5. The modulating factor is differentiated through, in all
flavors.
"""

from typing import Annotated, Literal

from annotated_types import Ge, Le
from jaxtyping import Bool, Float
from torch import Tensor

from posneg.models.losses import loss
from posneg.models.types import ClassScores

SEMANTICS = 1


@loss("classification")
def focal(
    scores: ClassScores,
    target: Float[Tensor, "*#P C"] | None,
    label: Bool[Tensor, "*#P C"] | None = None,  # noqa: ARG001 - soft targets say it all
    *,
    flavor: Literal["torchvision", "mmdet", "ultralytics", "ppdet"] = "torchvision",
    alpha: Annotated[float, Ge(-1), Le(1)] = 0.25,
    gamma: Annotated[float, Ge(0)] = 2.0,
) -> Float[Tensor, "P C"]:
    """alpha_t (1 - p_t)^gamma BCE; a negative `alpha` leaves alpha_t out.

    For soft targets y: p_t = y p + (1 - y)(1 - p) and alpha_t = y alpha + (1 - y)(1 - alpha). `ppdet` has
    |p - y| in place of 1 - p_t, which is equal for y of 0 and 1; `ultralytics` takes the mean over classes,
    so that its values are divided by their number.
    """
    p = scores.all_probabilities
    if target is None:
        value = p**gamma * scores.cross_entropy(None) * (1 - alpha if alpha >= 0 else 1)
        return value / p.shape[-1] if flavor == "ultralytics" else value
    distance = (p - target).abs() if flavor == "ppdet" else 1 - (target * p + (1 - target) * (1 - p))
    value = distance**gamma * scores.cross_entropy(target)
    if alpha >= 0:
        value = value * (target * alpha + (1 - target) * (1 - alpha))
    return value / p.shape[-1] if flavor == "ultralytics" else value
