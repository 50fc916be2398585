"""Normalizers, one file each: what a term's sum is divided by.

A new normalizer is a new file `<name>.py` with one function `<name>` under `@normalizer`, from a `Tally` to
one value for each group: the batch, or every image by itself. The criterion takes at least 1 of it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from posneg.models.registry import Registry

if TYPE_CHECKING:  # listing the names must not import torch
    from torch import Tensor

    from posneg.models.normalizers._tally import Tally

normalizer: "Registry[Callable[[Tally], Tensor]]" = Registry("normalizer", __name__)
