"""Pairs of a prediction and a ground truth of one image, as two index lists, and ranking within groups.

Assignment is a sparse problem: of all pairs only those can matter whose anchor point lies in the box, or
whose boxes overlap. Every list here is sorted by ground truth, then by prediction, so that a stable sort
resolves ties to the lowest index.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from posneg.models.boxes import center_distance_squared, iou
from posneg.models.grids import cells_near, levels_of
from posneg.models.types import GroundTruth, Predictions, image_starts


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Row indices into the flat predictions and ground truth of a batch."""

    prediction: Int[Tensor, "P"]
    ground_truth: Int[Tensor, "P"]

    def take(self, rows: Tensor) -> "Pairs":
        """Some pairs, by index or mask."""
        return Pairs(prediction=self.prediction[rows], ground_truth=self.ground_truth[rows])


@dataclass(frozen=True, slots=True)
class ImageRows:
    """The rows of one image: its predictions as a slice, its usable ground truths as indices."""

    predictions: slice
    ground_truth: Int[Tensor, "G"]


def rows_by_image(
    predictions: Predictions, ground_truth: GroundTruth, usable: Bool[Tensor, "G"]
) -> Iterator[ImageRows]:
    """The images that have both predictions and usable ground truth."""
    if len(predictions.image) == 0 or not bool(usable.any()):
        return
    images = int(torch.maximum(predictions.image[-1], ground_truth.image[-1])) + 1
    starts = image_starts(predictions.image, images)
    chosen = usable.nonzero().squeeze(1)
    for image, rows in enumerate(
        torch.split(chosen, torch.bincount(ground_truth.image[chosen], minlength=images).tolist())
    ):
        if len(rows) and starts[image + 1] > starts[image]:
            yield ImageRows(slice(starts[image], starts[image + 1]), rows)


def levels(predictions: Predictions) -> Int[Tensor, "N"]:
    """The number of each prediction's level in its image, from 0: a level is a run of equal strides."""
    image, strides = predictions.image, predictions.strides
    first = torch.ones_like(image, dtype=torch.bool)
    first[1:] = image[1:] != image[:-1]
    new = first.clone()
    new[1:] |= strides[1:] != strides[:-1]
    run = new.long().cumsum(0)
    return run - torch.where(first, run, 0).cummax(0).values


def all_pairs(predictions: Predictions, ground_truth: GroundTruth, usable: Bool[Tensor, "G"]) -> Pairs:
    """Every usable ground truth with every prediction of its image."""
    found = [_grid(rows) for rows in rows_by_image(predictions, ground_truth, usable)]
    return _finite(_joined(found, predictions), predictions)


def pairs_inside(
    predictions: Predictions,
    ground_truth: GroundTruth,
    usable: Bool[Tensor, "G"],
    boxes: Float[Tensor, "G 4"],
    margin_px: float,
) -> Pairs:
    """The pairs whose anchor point lies more than `margin_px` inside `boxes`, which may be enlarged ones."""
    near = _near_on_grids(predictions, ground_truth, usable, boxes)
    if near is not None:
        inside = _inside(predictions.points[near.prediction], boxes[near.ground_truth], margin_px)
        return _finite(near.take(inside.nonzero().squeeze(1)), predictions)
    found = []
    for rows in rows_by_image(predictions, ground_truth, usable):
        points = predictions.points[rows.predictions][None]
        which = _inside(points, boxes[rows.ground_truth][:, None], margin_px).nonzero()  # [P, 2]
        found.append((which[:, 1] + rows.predictions.start, rows.ground_truth[which[:, 0]]))
    return _finite(_joined(found, predictions), predictions)


def _inside(
    points: Float[Tensor, "*#P 2"], boxes: Float[Tensor, "*#P 4"], margin_px: float
) -> Bool[Tensor, "*P"]:
    """A side at a time, so that no tensor of four distances a pair is made."""
    (x, y), (left, top, right, bottom) = points.unbind(-1), boxes.unbind(-1)
    inside = (x - left > margin_px) & (right - x > margin_px)
    return inside & (y - top > margin_px) & (bottom - y > margin_px)


def _near_on_grids(
    predictions: Predictions,
    ground_truth: GroundTruth,
    usable: Bool[Tensor, "G"],
    boxes: Float[Tensor, "G 4"],
) -> Pairs | None:
    """Pairs that hold every one inside, where all images have the same grids of points; else None."""
    if len(predictions.image) == 0 or len(ground_truth.image) == 0:
        return None
    images = int(torch.maximum(predictions.image[-1], ground_truth.image[-1])) + 1
    levels = levels_of(predictions.points, predictions.strides, predictions.image, images)
    if levels is None:
        return None
    chosen = usable.nonzero().squeeze(1)
    cell, box = cells_near(levels, boxes[chosen])
    truth = chosen[box]
    rows = len(predictions.image) // images
    return Pairs(prediction=cell + ground_truth.image[truth] * rows, ground_truth=truth)


def pairs_overlapping(
    predictions: Predictions, ground_truth: GroundTruth, usable: Bool[Tensor, "G"]
) -> Pairs:
    """The pairs whose boxes share some area."""
    found = []
    for rows in rows_by_image(predictions, ground_truth, usable):
        a, b = predictions.boxes[rows.predictions][None], ground_truth.boxes[rows.ground_truth][:, None]
        low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
        which = (high > low).all(-1).nonzero()
        found.append((which[:, 1] + rows.predictions.start, rows.ground_truth[which[:, 0]]))
    return _finite(_joined(found, predictions), predictions)


def nearest_pairs(predictions: Predictions, ground_truth: GroundTruth, usable: Bool[Tensor, "G"]) -> Pairs:
    """Each prediction with its nearest ground truth, and each ground truth with its nearest prediction.

    Nearest is the largest IoU, then the smallest distance of the centres, then the lowest index.
    """
    found = []
    for rows in rows_by_image(predictions, ground_truth, usable):
        a, b = predictions.boxes[rows.predictions][None], ground_truth.boxes[rows.ground_truth][:, None]
        distance = center_distance_squared(a, b)
        closeness = iou(a, b) - distance / (distance.max() + 1) * 1e-9  # [G, N]; distance only breaks ties
        count = closeness.shape[1]
        numbers = torch.arange(count, device=closeness.device)
        found.append((numbers + rows.predictions.start, rows.ground_truth[closeness.argmax(0)]))
        found.append((closeness.argmax(1) + rows.predictions.start, rows.ground_truth))
    return _finite(_joined(found, predictions), predictions)


def pairs_with(
    predictions: Predictions, ground_truth: GroundTruth, usable: Bool[Tensor, "G"], rows: Int[Tensor, "R"]
) -> Pairs:
    """Every usable ground truth of its image with each of some predictions (`rows`, ascending)."""
    chosen = usable.nonzero().squeeze(1)
    image, where = predictions.image[rows], ground_truth.image[chosen]
    first = torch.searchsorted(where, image)  # images ascend, so an image's ground truths lie together
    count = torch.searchsorted(where, image, right=True) - first
    number = torch.arange(int(count.sum()), device=rows.device)
    start = torch.repeat_interleave(count.cumsum(0) - count - first, count)
    pairs = Pairs(prediction=torch.repeat_interleave(rows, count), ground_truth=chosen[number - start])
    return pairs.take(pairs.ground_truth.sort(stable=True).indices)


def union(predictions: int, *parts: Pairs) -> Pairs:
    """All pairs of `parts`, each once, in order; `predictions` is how many there are in the batch."""
    keys = torch.unique(torch.cat([p.ground_truth * predictions + p.prediction for p in parts]))
    return Pairs(prediction=keys % max(predictions, 1), ground_truth=keys // max(predictions, 1))


def rank_within(
    group: Int[Tensor, "P"], value: Float[Tensor, "P"], eligible: Bool[Tensor, "P"]
) -> Int[Tensor, "P"]:
    """Rank from 0 of each eligible value in its group, largest first, ties by position; else a huge one."""
    rank = torch.full_like(group, torch.iinfo(group.dtype).max)
    rows = eligible.nonzero().squeeze(1)
    order = _descending_in_groups(group[rows], value[rows])
    groups = group[rows][order]
    position = torch.arange(len(rows), device=group.device)
    new = torch.ones_like(groups, dtype=torch.bool)
    new[1:] = groups[1:] != groups[:-1]
    start = torch.where(new, position, 0).cummax(0).values
    rank[rows[order]] = position - start
    return rank


def _descending_in_groups(group: Int[Tensor, "P"], value: Float[Tensor, "P"]) -> Int[Tensor, "P"]:
    """The order by group, then by value from the largest, then by position."""
    if value.dtype == torch.float32:  # group and value fit into one whole number: one sort in place of two
        bits = (value + 0.0).view(torch.int32).long()  # adding zero makes the two zeros one
        rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
        return (group * 2**32 - rising).sort(stable=True).indices
    order = value.sort(descending=True, stable=True).indices
    return order[group[order].sort(stable=True).indices]


def value_at_rank(
    group: Int[Tensor, "P"], value: Float[Tensor, "P"], rank: Int[Tensor, "P"], k: int, groups: int
) -> Float[Tensor, "groups"]:
    """The value that holds rank `k` (from 0) in each group; NaN where the group is shorter."""
    held = torch.full((groups,), torch.nan, dtype=value.dtype, device=value.device)
    at = rank == k
    held[group[at]] = value[at]
    return held


def smallest_in_rows(
    values: Float[Tensor, "G N"], k: int
) -> tuple[Int[Tensor, "P"], Int[Tensor, "P"], Int[Tensor, "P"]]:
    """The `k` smallest values of each row, ties to the lowest index: row, column, and rank from 0.

    In order of rows, then columns. `k` is at most the length of a row.
    """
    limit = values.topk(k, dim=1, largest=False).values[:, -1:]
    row, column = (values <= limit).nonzero().T  # the k smallest, and whatever ties with the last of them
    rank = rank_within(row, -values[row, column], torch.ones_like(row, dtype=torch.bool))
    kept = rank < k
    return row[kept], column[kept], rank[kept]


def settled(
    prediction: Int[Tensor, "P"],
    value: Float[Tensor, "P"],
    claimed: Bool[Tensor, "P"],
    entitled: Bool[Tensor, "P"],
    predictions: int,
) -> tuple[Bool[Tensor, "P"], Float[Tensor, "P"]]:
    """Which pairs are matched once each prediction has one box, and each pair's best rival (NaN: none).

    A prediction that several boxes claim goes to the largest value among the pairs that are `entitled` to a
    contested one, the first of equals; the others keep their claim.
    """
    nan = torch.full_like(value, torch.nan)
    claims = torch.bincount(prediction[claimed], minlength=predictions)
    contested = claims[prediction] > 1
    if not bool(contested.any()):
        return claimed, nan
    rows = (entitled & contested).nonzero().squeeze(1)
    rank = rank_within(prediction[rows], value[rows], torch.ones_like(rows, dtype=torch.bool))
    best = value_at_rank(prediction[rows], value[rows], rank, 0, predictions)
    second = value_at_rank(prediction[rows], value[rows], rank, 1, predictions)
    won = claimed & ~contested
    won[rows[rank == 0]] = True
    rival = torch.where(won, second[prediction], best[prediction])
    return won, torch.where(contested & (claimed | won), rival, nan)


def best_in_group(group: Int[Tensor, "P"], *keys: Tensor) -> tuple[Int[Tensor, "Q"], Int[Tensor, "Q"]]:
    """For each group that occurs: its number, and the position of its largest member (the first of equals).

    `keys` order the members, the most important one first.
    """
    order = torch.arange(len(group), device=group.device)
    for key in reversed(keys):
        order = order[key[order].sort(descending=True, stable=True).indices]
    order = order[group[order].sort(stable=True).indices]
    groups = group[order]
    first = torch.ones_like(groups, dtype=torch.bool)
    first[1:] = groups[1:] != groups[:-1]
    return groups[first], order[first]


def _grid(rows: ImageRows) -> tuple[Tensor, Tensor]:
    numbers = torch.arange(rows.predictions.start, rows.predictions.stop, device=rows.ground_truth.device)
    count = len(rows.ground_truth)
    return numbers.repeat(count), rows.ground_truth.repeat_interleave(len(numbers))


def _joined(found: list[tuple[Tensor, Tensor]], predictions: Predictions) -> Pairs:
    empty = predictions.image[:0]
    return Pairs(
        prediction=torch.cat([empty, *(p for p, _ in found)]),
        ground_truth=torch.cat([empty, *(g for _, g in found)]),
    )


def _finite(pairs: Pairs, predictions: Predictions) -> Pairs:
    return pairs if predictions.finite is None else pairs.take(predictions.finite[pairs.prediction])
