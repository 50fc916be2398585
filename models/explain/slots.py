"""The rows of two runs side by side: one slot for each pair, and for each row that one run has alone."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from posneg.models.explain.pairing import Elements, Integers, equal_rows, pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """The images of one run as they were sent: their ids, unique, and the elements of each."""

    ids: Sequence[Hashable]
    ground_truth: Sequence[Elements]
    predictions: Sequence[Elements]


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Rows of two runs: the pairs, and which are there once. All indices run over a whole batch.

    `row` [2, U] is each slot's row in run a and in run b, -1 where it has none; `equal` marks slots of equal
    content. `other` leads from each row of one run to its partner, -1 for none.
    """

    row: Int[Tensor, "2 U"]
    equal: Bool[Tensor, "U"]
    other: tuple[Int[Tensor, "A"], Int[Tensor, "B"]]

    @property
    def added(self) -> int:
        """How many rows run b has alone."""
        return int((self.row[0] < 0).sum())

    @property
    def removed(self) -> int:
        """How many rows run a has alone."""
        return int((self.row[1] < 0).sum())

    @property
    def changed(self) -> int:
        """How many pairs differ."""
        return int((~self.equal & (self.row >= 0).all(0)).sum())

    def altered(self, side: int) -> Bool[Tensor, "R"]:
        """Which rows of one run the other does not have just so."""
        rows = self.row[side]
        marks = torch.ones(len(self.other[side]), dtype=torch.bool)
        return marks.index_copy(0, rows[rows >= 0], ~self.equal[rows >= 0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """Two runs side by side: the images of both, paired by id, their boxes and their predictions.

    `images` [2, I] is each image's number in run a and in run b, -1 where it is not there; `image` is that of
    each prediction's slot.
    """

    images: Int[Tensor, "2 I"]
    image: Int[Tensor, "U"]
    ground_truth: Links
    predictions: Links

    @property
    def inputs_equal(self) -> bool:
        """Whether both runs saw the same images, boxes and predictions."""
        same = bool((self.images >= 0).all())
        return same and bool(self.ground_truth.equal.all()) and bool(self.predictions.equal.all())


def side_by_side(a: Frames, b: Frames) -> Slots:
    """The slots of two runs."""
    number = {identity: n for n, identity in enumerate(b.ids)}
    pairs = [(n, number.pop(identity, -1)) for n, identity in enumerate(a.ids)]
    pairs += [(-1, n) for n in number.values()]
    truths, _ = _linked([a.ground_truth, b.ground_truth], pairs)
    predictions, image = _linked([a.predictions, b.predictions], pairs)
    images = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    return Slots(images=images, image=image, ground_truth=truths, predictions=predictions)


def same_inputs(images: int, boxes: int, image: Int[Tensor, "N"]) -> Slots:
    """The slots of two runs over the very same batch; `image` is that of each prediction."""
    return Slots(
        images=torch.arange(images).repeat(2, 1),
        image=image,
        ground_truth=_identical(boxes),
        predictions=_identical(len(image)),
    )


def _identical(count: int) -> Links:
    rows = torch.arange(count)
    return Links(row=rows.repeat(2, 1), equal=torch.ones(count, dtype=torch.bool), other=(rows, rows))


def _linked(
    sides: Sequence[Sequence[Elements]], pairs: list[tuple[int, int]]
) -> tuple[Links, Int[Tensor, "U"]]:
    """The links of one kind of element over all images, and the image of each slot."""
    starts = [np.cumsum([0, *(len(e.content) for e in elements)]) for elements in sides]
    ours, theirs, equal, image = [], [], [], []
    for slot, (n, m) in enumerate(pairs):
        x, y, same = _image_slots(sides[0][n] if n >= 0 else None, sides[1][m] if m >= 0 else None)
        ours.append(np.where(x >= 0, x + starts[0][n], -1))
        theirs.append(np.where(y >= 0, y + starts[1][m], -1))
        equal.append(same)
        image.append(np.full(len(x), slot))
    empty = np.zeros(0, dtype=np.int64)
    row = np.stack([np.concatenate([empty, *ours]), np.concatenate([empty, *theirs])])
    other = []
    for side in (0, 1):
        partner = np.full(starts[side][-1], -1, dtype=np.int64)
        there = row[side] >= 0
        partner[row[side][there]] = row[1 - side][there]
        other.append(torch.from_numpy(partner))
    links = Links(
        row=torch.from_numpy(row),
        equal=torch.from_numpy(np.concatenate([empty.astype(bool), *equal])),
        other=(other[0], other[1]),
    )
    return links, torch.from_numpy(np.concatenate([empty, *image]).astype(np.int64))


def _image_slots(a: Elements | None, b: Elements | None) -> tuple[Integers, Integers, np.ndarray]:
    """The rows of one image in a and in b, slot by slot (a's, then what b adds), and which are equal."""
    if a is None or b is None:
        there = a or b
        assert there is not None, "an image is in one of the runs"
        rows = np.arange(len(there.content))
        none = np.full(len(rows), -1, dtype=np.int64)
        return (rows, none, none >= 0) if b is None else (none, rows, none >= 0)
    partner = pair(a, b)
    added = np.setdiff1d(np.arange(len(b.content)), partner)
    ours = np.concatenate([np.arange(len(partner)), np.full(len(added), -1)]).astype(np.int64)
    theirs = np.concatenate([partner, added]).astype(np.int64)
    equal = np.concatenate([equal_rows(a, b, partner), np.zeros(len(added), dtype=bool)])
    return ours, theirs, equal
