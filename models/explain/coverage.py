"""Which boxes a grid of anchor points can reach, from ground truth alone: numpy, no torch.

An image is scaled to the input by its tighter side and centred; neither size nor padding is rounded. A level
of stride s has points at (i + 0.5) · s, ⌈size / s⌉ a side. A box is reached by a point strictly inside it.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
HALVINGS = 16
"""How often a stride is halved in search of one that reaches."""


def placed(boxes: Floats, sizes: Floats, input_size: tuple[float, float]) -> Floats:
    """Boxes [G, 4], xyxy in pixels of images of `sizes` [G, 2], in pixels of the input; sizes are (h, w)."""
    target = np.asarray(input_size, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        scale = (target / sizes).min(1, keepdims=True)
        padding = (target - sizes * scale) / 2
        placed_boxes: Floats = boxes * scale + np.tile(padding[:, ::-1], 2)
    return placed_boxes


def candidates(boxes: Floats, input_size: tuple[float, float], strides: Sequence[float]) -> Integers:
    """How many points of all levels lie strictly inside each box [G, 4], xyxy in pixels of the input."""
    count = np.zeros(len(boxes), dtype=np.int64)
    height, width = input_size
    for stride in strides:
        across = _points_between(boxes[:, 0], boxes[:, 2], stride, math.ceil(width / stride))
        count += across * _points_between(boxes[:, 1], boxes[:, 3], stride, math.ceil(height / stride))
    return count


def reaching_stride(boxes: Floats, input_size: tuple[float, float], stride: float) -> Floats:
    """For each box that `stride` does not reach: the first of its halvings that does; NaN where none does."""
    found = np.full(len(boxes), np.nan)
    missing = np.arange(len(boxes))
    for _ in range(HALVINGS):
        stride /= 2
        reached = candidates(boxes[missing], input_size, [stride]) > 0
        found[missing[reached]] = stride
        missing = missing[~reached]
        if not len(missing):
            break
    return found


def _points_between(low: Floats, high: Floats, stride: float, cells: int) -> Integers:
    """How many of the points (i + 0.5) · stride, i from 0 to `cells` - 1, lie strictly between two bounds.

    The index that a division gives may be off by one; the points themselves are compared.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        first = np.clip(np.floor(low / stride - 0.5) + 1, 0, cells)
        first += (first + 0.5) * stride <= low
        first -= (first - 0.5) * stride > low
        end = np.clip(np.ceil(high / stride - 0.5), 0, cells)
        end += (end + 0.5) * stride < high
        end -= (end - 0.5) * stride >= high
    span = np.clip(end, 0, cells) - np.clip(first, 0, cells)
    counted: Integers = np.nan_to_num(span, nan=0.0).clip(min=0).astype(np.int64)
    return counted
