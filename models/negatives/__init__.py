"""Which negatives count, one file each: all of them, the hardest, a random draw.

A new selection is a new file `<name>.py` with one function `<name>` under `@negatives`, from a `Draw` to how
often each prediction counts [N]: 0 leaves it out (it is ignored then and pays nothing), 2 counts it twice.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from posneg.models.registry import Registry

if TYPE_CHECKING:  # listing the names must not import torch
    from torch import Tensor

negatives: "Registry[Callable[..., Tensor]]" = Registry("selection of negatives", __name__)
