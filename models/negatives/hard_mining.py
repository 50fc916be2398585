"""Hard negative mining: the negatives that cost most.

Liu et al., SSD, ECCV 2016, arXiv:1512.02325, section 2.2; torchvision `SSD.compute_loss`.
"""

from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Int
from torch import Tensor

from posneg.models.negatives import negatives
from posneg.models.negatives._draw import Draw
from posneg.models.pairs import rank_within


@negatives
def hard_mining(draw: Draw, *, ratio: Annotated[float, Ge(0)] = 3.0) -> Int[Tensor, "N"]:
    """Per image `ratio` times as many as it has positives, by falling loss, ties to the lowest index.

    As in the upstream, positives follow where negatives run out: those are counted twice. An image without
    positives has no negatives either.
    """
    takes_part = draw.positive | draw.negative
    hardness = torch.where(draw.positive, -torch.inf, draw.losses)
    rank = rank_within(draw.image, hardness, takes_part)
    positives = torch.zeros_like(draw.image).index_add(0, draw.image, draw.positive.long())
    mined = takes_part & (rank < ratio * positives[draw.image])
    return draw.positive.long() + mined.long()
