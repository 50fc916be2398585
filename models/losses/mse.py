"""Squared difference."""

from jaxtyping import Float
from torch import Tensor

from posneg.models.losses import loss

SEMANTICS = 1


@loss("coordinates")
def mse(prediction: Float[Tensor, "P 4"], target: Float[Tensor, "P 4"]) -> Float[Tensor, "P 4"]:
    """(x - y)² of each coordinate, without a half."""
    return (prediction - target) ** 2
