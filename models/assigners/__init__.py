"""Assigners, one file each: (predictions, ground truth) → which prediction answers for which box.

A new assigner is a new file `<name>.py` with one function `<name>` under `@assigner`: two positional
parameters, keyword-only options with the paper's defaults, `trace: bool` among them when it can explain
itself.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from posneg.models.registry import Registry

if TYPE_CHECKING:  # listing the names must not import torch
    from posneg.models.types import Assignment

assigner: "Registry[Callable[..., Assignment]]" = Registry("assigner", __name__)
