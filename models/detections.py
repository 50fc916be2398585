"""Boxes out: detections of one image, non-maximum suppression, COCO result rows. NumPy alone, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

BLOCK = 256  # candidates that are compared at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detections:
    """What a detector found in one image, best first: boxes xyxy in pixels, scores 0..1, class indices."""

    boxes: Float[np.ndarray, "D 4"]
    scores: Float[np.ndarray, "D"]
    labels: Int[np.ndarray, "D"]

    def __len__(self) -> int:
        return len(self.scores)


def iou(a: Float[np.ndarray, "A 4"], b: Float[np.ndarray, "B 4"]) -> Float[np.ndarray, "A B"]:
    """Intersection over union of every pair; 0 where both are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    union = _area(a)[:, None] + _area(b)[None, :] - shared
    ratio: Float[np.ndarray, "A B"] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def _area(boxes: Float[np.ndarray, "A 4"]) -> Float[np.ndarray, "A"]:
    size: Float[np.ndarray, "A 2"] = (boxes[:, 2:] - boxes[:, :2]).clip(min=0)
    width, height = size.T
    return np.asarray(width * height)


def non_maximum_suppression(
    boxes: Float[np.ndarray, "N 4"],
    scores: Float[np.ndarray, "N C"],
    *,
    score_threshold: float = 0.25,
    iou_threshold: float = 0.7,
    max_detections: int = 300,
    max_candidates: int = 30_000,
    one_class_per_box: bool = False,
) -> Detections:
    """Of boxes of one class that overlap by more than `iou_threshold`, the best alone.

    Every box and class with a score above `score_threshold` is a candidate, with `one_class_per_box` the best
    class of each box alone; at most the `max_candidates` best. Ties go to the lower index. Rows whose box is
    not finite are left out. Overlaps are computed in float64.
    """
    rows, labels = _candidates(scores, score_threshold, one_class_per_box=one_class_per_box)
    finite = np.isfinite(boxes[rows]).all(axis=1)
    rows, labels = rows[finite], labels[finite]
    order = _best_first(scores[rows, labels], max_candidates)
    rows, labels = rows[order], labels[order]
    kept = _suppress(boxes[rows].astype(np.float64), labels, iou_threshold, max_detections)
    rows, labels = rows[kept], labels[kept]
    return Detections(boxes=boxes[rows], scores=scores[rows, labels], labels=labels)


def _candidates(
    scores: Float[np.ndarray, "N C"], threshold: float, *, one_class_per_box: bool
) -> tuple[Int[np.ndarray, "K"], Int[np.ndarray, "K"]]:
    """(row, class) of the scores above the threshold, in order of index; NaN and infinity are not."""
    candidate = (scores > threshold) & (scores < np.inf)
    if not one_class_per_box or scores.shape[1] == 0:
        rows, labels = np.nonzero(candidate)
        return rows, labels
    rows = np.flatnonzero(candidate.any(axis=1))
    return rows, np.where(candidate[rows], scores[rows], -np.inf).argmax(axis=1)


def _best_first(values: Float[np.ndarray, "K"], limit: int) -> Int[np.ndarray, "L"]:
    """Indices of the `limit` largest, falling, ties by index; parted before they are sorted."""
    if len(values) <= limit:
        return np.argsort(-values, kind="stable")
    floor = np.partition(values, -limit)[-limit]
    large = np.flatnonzero(values >= floor)
    return large[np.argsort(-values[large], kind="stable")][:limit]


def _suppress(
    boxes: Float[np.ndarray, "K 4"], labels: Int[np.ndarray, "K"], threshold: float, limit: int
) -> Int[np.ndarray, "D"]:
    """Indices that survive, of candidates sorted by score: block by block, so that it can stop at `limit`."""
    kept = np.empty(0, np.int64)
    for start in range(0, len(boxes), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(boxes)))
        block = block[~_overlaps(boxes, labels, block, kept, threshold).any(axis=1)]
        kept = np.concatenate([kept, block[_greedy(_overlaps(boxes, labels, block, block, threshold))]])
        if len(kept) >= limit:
            break
    return kept[:limit]


def _overlaps(
    boxes: Float[np.ndarray, "K 4"],
    labels: Int[np.ndarray, "K"],
    a: Int[np.ndarray, "A"],
    b: Int[np.ndarray, "B"],
    threshold: float,
) -> Bool[np.ndarray, "A B"]:
    same_class: Bool[np.ndarray, "A B"] = labels[a][:, None] == labels[b][None, :]
    return same_class & (iou(boxes[a], boxes[b]) > threshold)


def _greedy(overlaps: Bool[np.ndarray, "A A"]) -> Bool[np.ndarray, "A"]:
    """Which of a block survive its own better members."""
    alive = np.ones(len(overlaps), bool)
    np.fill_diagonal(overlaps, False)
    for index in np.flatnonzero(overlaps.any(axis=1)):
        if alive[index]:
            alive[index + 1 :] &= ~overlaps[index, index + 1 :]
    return alive


def coco_rows(
    detections: Detections, *, image_id: int | str, category_ids: Sequence[int]
) -> list[dict[str, object]]:
    """COCO result rows: `bbox` is x, y, width, height; class index i has the id `category_ids[i]`."""
    corner, size = detections.boxes[:, :2], detections.boxes[:, 2:] - detections.boxes[:, :2]
    bboxes = np.concatenate([corner, size], axis=1).tolist()
    return [
        {"image_id": image_id, "category_id": category_ids[label], "bbox": bbox, "score": score}
        for bbox, label, score in zip(
            bboxes, detections.labels.tolist(), detections.scores.tolist(), strict=True
        )
    ]
