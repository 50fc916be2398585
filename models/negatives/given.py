"""The draw of somebody else's sampler."""

import torch
from jaxtyping import Int
from torch import Tensor

from posneg.models.negatives import negatives
from posneg.models.negatives._draw import Draw


@negatives
def given(draw: Draw) -> Int[Tensor, "N"]:
    """What `sampled` lists, positives and negatives; all where nothing is listed."""
    return torch.ones_like(draw.image) if draw.listed is None else draw.listed.long()
