"""Which box or prediction of one run is which of another: by id, by place, by content, by overlap.

A wrong pairing shifts an explanation between its parts and rows, never its sum.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

LEAST_IOU = 0.5
MOST_WEIGHED = 4_000_000
"""Pairs of leftover rows whose overlaps are weighed at once; beyond it they are told as removed and added."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Elements:
    """The R boxes or predictions of one image, as one run has them.

    Rows of `content` [R, K] that are equal bit by bit under the same `frame`, which says what the columns
    mean, are the same thing. `boxes` [R, 4] are xyxy in pixels; `labels` are class names. `places` [R, L] is
    what the columns of a dense head are told apart by; None for a list. Ids are unique, or None.
    """

    ids: Sequence[Hashable]
    content: Floats
    frame: str
    boxes: Floats
    labels: Sequence[str | None]
    places: Floats | None = None


def pair(a: Elements, b: Elements) -> Integers:
    """For each row of `a` the row of `b` that it is, [R]; -1 where it is none of them.

    Rows are paired by id; the rest by index where both are columns of the same places; else equal rows
    first, in order, then by overlap: the same label before any label, an IoU of at least 0.5. Where both
    hold the same rows, only equal ones are paired, whatever their ids: a file that was numbered anew is the
    same input.
    """
    partner = np.full(len(a.content), -1, dtype=np.int64)
    _by_id(a, b, partner)
    if _same_rows(a, b):
        partner[~equal_rows(a, b, partner)] = -1
        _by_content(a, b, partner)
        return partner
    if _same_places(a, b):
        free = np.setdiff1d(np.arange(len(b.content)), partner)
        rows = np.flatnonzero((partner < 0) & np.isin(np.arange(len(partner)), free))
        partner[rows] = rows
    _by_content(a, b, partner)
    for same_label in (True, False):
        _by_overlap(a, b, partner, same_label=same_label)
    return partner


def equal_rows(a: Elements, b: Elements, partner: Integers) -> NDArray[np.bool_]:
    """Which rows of `a` have a partner of equal content, [R]."""
    equal = np.zeros(len(partner), dtype=bool)
    rows = np.flatnonzero(partner >= 0)
    if a.frame == b.frame and len(rows):
        equal[rows] = (_bits(a.content[rows]) == _bits(b.content[partner[rows]])).all(1)
    return equal


def _by_id(a: Elements, b: Elements, partner: Integers) -> None:
    where = {identity: row for row, identity in enumerate(b.ids) if identity is not None}
    for row, identity in enumerate(a.ids):
        if identity is not None:
            partner[row] = where.get(identity, -1)


def _same_rows(a: Elements, b: Elements) -> bool:
    """Whether both hold equal rows, in whatever order."""
    if a.frame != b.frame or a.content.shape != b.content.shape:
        return False
    if (_bits(a.content) == _bits(b.content)).all():
        return True
    ours, theirs = (sorted(row.tobytes() for row in side.content) for side in (a, b))
    return ours == theirs


def _same_places(a: Elements, b: Elements) -> bool:
    if a.places is None or b.places is None or a.places.shape != b.places.shape:
        return False
    return bool((_bits(a.places) == _bits(b.places)).all())


def _by_content(a: Elements, b: Elements, partner: Integers) -> None:
    """The first of equal rows with the first, the second with the second."""
    rows, free = _left(b, partner)
    if a.frame != b.frame or not len(rows) or not len(free):
        return
    waiting: dict[bytes, list[int]] = {}
    for row in reversed(free.tolist()):
        waiting.setdefault(b.content[row].tobytes(), []).append(row)
    for row in rows.tolist():
        if same := waiting.get(a.content[row].tobytes()):
            partner[row] = same.pop()


def _by_overlap(a: Elements, b: Elements, partner: Integers, *, same_label: bool) -> None:
    """The rest, so that the sum of overlaps is largest.

    Rows are sorted by content, and the smaller side comes first: neither the order of rows nor which run is
    `a` decides between equally good pairings.
    """
    rows, free = _left(b, partner)
    if not len(rows) or not len(free) or len(rows) * len(free) > MOST_WEIGHED:
        return
    (rows, first), (free, second) = _sorted(a, rows), _sorted(b, free)
    overlap = _iou(a.boxes[rows], b.boxes[free])
    if same_label:
        ours, theirs = np.array(a.labels, dtype=object)[rows], np.array(b.labels, dtype=object)[free]
        overlap = np.where(ours[:, None] == theirs[None], overlap, 0.0)
    overlap = np.where(overlap >= LEAST_IOU, overlap, 0.0)
    if first <= second:
        i, j = linear_sum_assignment(1 - overlap)
    else:
        j, i = linear_sum_assignment(1 - overlap.T)
    near = overlap[i, j] >= LEAST_IOU
    partner[rows[i[near]]] = free[j[near]]


def _left(b: Elements, partner: Integers) -> tuple[Integers, Integers]:
    """The rows without a partner, on either side."""
    return np.flatnonzero(partner < 0), np.setdiff1d(np.arange(len(b.content)), partner)


def _sorted(side: Elements, rows: Integers) -> tuple[Integers, tuple[int, list[bytes]]]:
    """Rows by their content, and what tells which of two sides comes first."""
    keys = [side.content[row].tobytes() for row in rows.tolist()]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return rows[order], (len(keys), [keys[n] for n in order])


def _iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of every pair [A, B]; 0 for boxes without area or with non-finite corners."""
    a, b = a[:, None], b[None]
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
        shared = size.prod(-1)
        union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
        fine = (union > 0) & np.isfinite(union) & np.isfinite(shared)
        return np.where(fine, shared / np.where(fine, union, 1), 0.0)


def _bits(values: Floats) -> NDArray[np.uint64]:
    """The numbers as they are stored: a NaN equals itself."""
    return np.ascontiguousarray(values, dtype=np.float64).view(np.uint64)
