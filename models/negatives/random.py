"""A random draw of so many, positives and negatives in a fixed share.

Ren et al., Faster R-CNN, NeurIPS 2015, arXiv:1506.01497, section 3.1.3; torchvision
`BalancedPositiveNegativeSampler`.
"""

from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Ge, Le
from jaxtyping import Bool, Int
from torch import Tensor

from posneg.models.negatives import negatives
from posneg.models.negatives._draw import Draw
from posneg.models.types import image_starts


@negatives
def random(
    draw: Draw,
    *,
    number: Annotated[int, Ge(1)] = 256,
    positive_fraction: Annotated[float, Ge(0), Le(1)] = 0.5,
    seed: Annotated[int, Ge(0)] = 0,
) -> Int[Tensor, "N"]:
    """`number` of each image's predictions: positives up to their fraction, negatives for the rest.

    Each image is drawn from `seed` by itself, so that an image alone and in a batch has the same draw.
    """
    taken = torch.zeros_like(draw.positive)
    images = int(draw.image[-1]) + 1 if len(draw.image) else 0
    starts = image_starts(draw.image, images)
    for first, end in pairwise(starts):
        generator = torch.Generator().manual_seed(seed)
        positives = int(number * positive_fraction)
        chosen = _some(draw.positive[first:end], positives, generator)
        rest = _some(draw.negative[first:end], number - int(chosen.sum()), generator)
        taken[first:end] = chosen | rest
    return taken.long()


def _some(among: Bool[Tensor, "R"], number: int, generator: torch.Generator) -> Bool[Tensor, "R"]:
    rows = among.nonzero().squeeze(1)
    order = torch.randperm(len(rows), generator=generator).to(rows.device)
    return torch.zeros_like(among).index_fill(0, rows[order[:number]], True)
