"""Absolute difference."""

from jaxtyping import Float
from torch import Tensor

from posneg.models.losses import loss

SEMANTICS = 1


@loss("coordinates")
def l1(prediction: Float[Tensor, "P 4"], target: Float[Tensor, "P 4"]) -> Float[Tensor, "P 4"]:
    """|x - y| of each coordinate."""
    return (prediction - target).abs()
