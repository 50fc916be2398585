"""Every negative."""

import torch
from jaxtyping import Int
from torch import Tensor

from posneg.models.negatives import negatives
from posneg.models.negatives._draw import Draw


@negatives
def all(draw: Draw) -> Int[Tensor, "N"]:
    """Once each."""
    return torch.ones_like(draw.image)
