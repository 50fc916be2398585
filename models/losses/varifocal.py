"""Varifocal loss: positives weighted by how good their box is, negatives by how wrong they are.

Zhang et al., VarifocalNet, CVPR 2021, arXiv:2008.13367, equation 2.
"""

from typing import Annotated, Literal

import torch
from annotated_types import Ge
from jaxtyping import Bool, Float
from torch import Tensor

from posneg.models.losses import loss
from posneg.models.types import ClassScores

SEMANTICS = 1


@loss("classification")
def varifocal(
    scores: ClassScores,
    target: Float[Tensor, "*#P C"] | None,
    label: Bool[Tensor, "*#P C"] | None = None,
    *,
    flavor: Literal["mmdet", "ultralytics", "ppdet", "rtdetr"] = "mmdet",
    alpha: Annotated[float, Ge(0)] = 0.75,
    gamma: Annotated[float, Ge(0)] = 2.0,
) -> Float[Tensor, "P C"]:
    """y BCE(p, y) for positives, alpha p^gamma BCE(p, 0) for the rest.

    `mmdet` takes an entry of target 0 for a negative, also a positive's own class, with the weight
    alpha |p - y|^gamma; the others go by the label, so that a positive of target 0 pays nothing there.
    `rtdetr` holds the weight constant for the gradient, the others differentiate it. `ppdet` works on
    probabilities, each logarithm at least -100. `ultralytics` takes the mean over classes: its values are
    divided by their number.
    """
    p = scores.all_probabilities
    taken = ClassScores(probabilities=p) if flavor == "ppdet" else scores
    negative = p.detach() if flavor == "rtdetr" else p
    weight = alpha * negative**gamma
    if target is not None:
        if flavor == "mmdet":
            weight = torch.where(target > 0, target, alpha * (p - target).abs() ** gamma)
        else:
            weight = torch.where(target > 0 if label is None else label, target, weight)
    value = weight * taken.cross_entropy(target)
    return value / p.shape[-1] if flavor == "ultralytics" else value
