"""Loss by image, class, size, level or ground truth; each grouping adds up to the total."""

from collections.abc import Callable
from typing import Any

from posneg.models.criterion import Breakdown
from posneg.service.engine.rows import Explained

SMALL, MEDIUM = 32.0**2, 96.0**2  # COCO's limits, in square pixels


def groups(explained: Explained, breakdown: Breakdown) -> dict[str, list[dict[str, Any]]]:
    """For each key asked for: terms, number of predictions and share of the total, largest first."""
    assert explained.loss is not None
    total = breakdown.total.item()
    keys: dict[str, Callable[[Explained], list[Any]]] = {
        "image": _images,
        "class": _classes,
        "size": _sizes,
        "level": _levels,
        "ground_truth": _ground_truths,
    }
    return {
        name: _grouped(keys[name](explained), explained.loss, total) for name in explained.request.group_by
    }


def _grouped(keys: list[Any], loss: dict[str, list[float]], total: float) -> list[dict[str, Any]]:
    rows: dict[Any, list[int]] = {}
    for number, key in enumerate(keys):
        rows.setdefault(key, []).append(number)
    found = []
    for key, numbers in rows.items():
        terms = {term: sum(values[n] for n in numbers) for term, values in loss.items()}
        value = sum(terms.values())
        shown = list(key) if isinstance(key, tuple) else key
        found.append(
            {
                "key": shown,
                "terms": terms,
                "total": value,
                "count": len(numbers),
                "share": value / total if total else 0.0,
            }
        )
    return sorted(found, key=lambda group: -group["total"])


def _images(explained: Explained) -> list[Any]:
    ids = [image.id for image in explained.request.images]
    return [ids[number] for number in explained.prepared.batch.predictions.image.tolist()]


def _matched(explained: Explained) -> list[int | None]:
    assignment = explained.assignment
    return [
        box if positive else None
        for positive, box in zip(assignment.positive.tolist(), assignment.ground_truth.tolist(), strict=True)
    ]


def _classes(explained: Explained) -> list[Any]:
    """A positive's is that of its box, another's the one it scores highest."""
    classes = explained.request.classes
    if not classes:
        return [None] * len(explained.assignment.positive)
    labels = explained.prepared.batch.ground_truth.labels.tolist()
    highest = explained.prepared.batch.predictions.scores.values.argmax(1).tolist()
    return [
        classes[labels[box] if box is not None else top]
        for box, top in zip(_matched(explained), highest, strict=True)
    ]


def _sizes(explained: Explained) -> list[Any]:
    boxes = explained.prepared.batch.ground_truth.boxes
    areas = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).tolist()
    return [None if box is None else _size(areas[box]) for box in _matched(explained)]


def _size(area: float) -> str:
    return "small" if area < SMALL else "medium" if area < MEDIUM else "large"


def _levels(explained: Explained) -> list[Any]:
    levels: list[Any] = explained.prepared.batch.predictions.strides.tolist()
    return levels


def _ground_truths(explained: Explained) -> list[Any]:
    """Image and box of each match; null for predictions that answer for none."""
    references = [
        (image.id, index if own is None else own)
        for image in explained.request.images
        for index, own in enumerate(image.ground_truth.ids)
    ]
    return [None if box is None else references[box] for box in _matched(explained)]
