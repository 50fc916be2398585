"""Losses, one file each: one value per pair or element, not reduced; the criterion divides, once.

A new loss is a new file `<name>.py` with one function `<name>` under `@loss(kind)`. The kind says what is
compared:

- `classification`: (`ClassScores` [P, C], targets, own class or not) → [P, C]; both broadcast to [P, C],
  and targets of None are 0 everywhere, as for the background
- `softmax`: (`ClassScores` [P, C + 1], class numbers [P], C the background) → [P]
- `overlap`: (boxes [P, 4], boxes [P, 4]), xyxy → [P]
- `coordinates`: (numbers [P, 4], numbers [P, 4]) → [P, 4]
- `logit`: (logits [P], targets [P]) → [P]
- `distribution`: (logits over bins [P, 4, R], distances in bins [P, 4]) → [P, 4] or [P]
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from posneg.models.registry import Registry

if TYPE_CHECKING:  # listing the names must not import torch
    from torch import Tensor

Kind = Literal["classification", "softmax", "overlap", "coordinates", "logit", "distribution"]
F = TypeVar("F", bound=Callable[..., Any])

losses: "Registry[Callable[..., Tensor]]" = Registry("loss function", __name__)
_kinds: dict[str, Kind] = {}


def loss(kind: Kind) -> Callable[[F], F]:
    """Register a loss function of one kind under its own name."""

    def register(function: F) -> F:
        _kinds[function.__name__] = kind
        losses(function)
        return function

    return register


def kind_of(name: str) -> Kind:
    """What the loss `name` compares; raises `OptionError` for a name that is not known."""
    losses[name]
    return _kinds[name]
