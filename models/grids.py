"""Anchor points on grids: which of them lie in a box is a matter of index ranges, not of testing all."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

SLACK = 1  # cells: rounding may put a border on either side, so ranges are wider and pairs tested exactly


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The rows of one level in each image, from `start`: a raster of columns at `x` and rows at `y`."""

    start: int
    x: Float[Tensor, "W"]
    y: Float[Tensor, "H"]


def levels_of(
    points: Float[Tensor, "N 2"], strides: Float[Tensor, "N"], image: Int[Tensor, "N"], images: int
) -> list[Level] | None:
    """The levels that all of `images` images share; None where their points are no such rasters.

    A level is a run of equal strides, its points in raster order, rows and columns rising.
    """
    count = len(points) // max(images, 1)
    if count == 0 or count * images != len(points):
        return None
    first, spacing = points[:count], strides[:count]
    same = (points.reshape(images, count, 2) == first).all() & (
        strides.reshape(images, count) == spacing
    ).all()
    numbers = torch.arange(images, device=image.device)[:, None]
    if not bool(same & (image.reshape(images, count) == numbers).all()):
        return None
    changes = (spacing[1:] != spacing[:-1]).nonzero().squeeze(1) + 1
    levels = [_raster(start, first[start:end]) for start, end in pairwise([0, *changes.tolist(), count])]
    found = [level for level in levels if level is not None]
    return found if len(found) == len(levels) else None


def _raster(start: int, points: Float[Tensor, "R 2"]) -> Level | None:
    turns = (points[1:, 1] != points[:-1, 1]).nonzero()
    width = int(turns[0]) + 1 if len(turns) else len(points)
    if len(points) % width:
        return None
    cells = points.reshape(-1, width, 2)
    x, y = cells[0, :, 0], cells[:, 0, 1]
    fits = (cells[..., 0] == x).all() & (cells[..., 1] == y[:, None]).all()
    rising = (x[1:] > x[:-1]).all() & (y[1:] > y[:-1]).all()
    return Level(start=start, x=x.contiguous(), y=y.contiguous()) if bool(fits & rising) else None


def cells_near(levels: list[Level], boxes: Float[Tensor, "G 4"]) -> tuple[Int[Tensor, "P"], Int[Tensor, "P"]]:
    """Every cell whose point may lie in a box, and some beside it: row within an image, and box.

    Pairs come by box, then by row.
    """
    left, top, right, bottom = boxes.T.contiguous()
    ranges = [(*_range(level.x, left, right), *_range(level.y, top, bottom)) for level in levels]
    first_x, columns, first_y, rows = (torch.stack(part, 1).flatten() for part in zip(*ranges, strict=True))
    counts = columns * rows  # one segment a box and level
    segment = torch.repeat_interleave(torch.arange(len(counts), device=boxes.device), counts)
    offset = torch.arange(len(segment), device=boxes.device) - (counts.cumsum(0) - counts)[segment]
    row = torch.div(offset, columns[segment], rounding_mode="floor")
    level = segment % len(levels)
    start = boxes.new_tensor([level.start for level in levels], dtype=torch.long)
    width = boxes.new_tensor([len(level.x) for level in levels], dtype=torch.long)
    corner = (first_y * width.repeat(len(boxes)) + first_x + start.repeat(len(boxes)))[segment]
    cell = corner + row * (width[level] - columns[segment]) + offset
    return cell, torch.div(segment, len(levels), rounding_mode="floor")


def _range(
    coordinates: Float[Tensor, "W"], low: Float[Tensor, "G"], high: Float[Tensor, "G"]
) -> tuple[Int[Tensor, "G"], Int[Tensor, "G"]]:
    """Index of the first coordinate within [low, high] and how many there are, `SLACK` more at either end."""
    first = (torch.searchsorted(coordinates, low) - SLACK).clamp(min=0)
    last = (torch.searchsorted(coordinates, high, right=True) + SLACK).clamp(max=len(coordinates))
    return first, (last - first).clamp(min=0)
