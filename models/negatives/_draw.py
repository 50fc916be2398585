"""What a selection of negatives chooses from."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """The predictions of a batch: their sign, their loss, their image, and whether a caller `listed` them."""

    positive: Bool[Tensor, "N"]
    negative: Bool[Tensor, "N"]
    losses: Float[Tensor, "N"]
    image: Int[Tensor, "N"]
    listed: Bool[Tensor, "N"] | None = None
