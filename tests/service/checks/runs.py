"""The article's example as a response of /v1/losses, and what tests do to it."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from posneg.service.checks.baseline import Snapshot, snapshot

Edit = Callable[[dict[str, Any]], None]

NONE = {"name": "none", "raw": 1.0, "used": 1.0, "clamped": False}
ANSWER: dict[str, Any] = {
    "total": 54.685179,
    "terms": {
        "classification": {
            "raw": 0.685179, "weight": 1.0, "normalizer": NONE,
            "value": 0.685179, "positive": 0.105361, "negative": 0.579818,
        },
        "box": {
            "raw": 54.0, "weight": 1.0, "normalizer": NONE, "value": 54.0, "positive": 54.0, "negative": 0.0,
        },
    },
    "counts": {"images": 1, "ground_truth": 2, "predictions": 3, "positive": 1, "negative": 2, "ignored": 0},
    "verdict": "ok",
    "warnings": [],
    "resolved": {
        "preset": "textbook",
        "assigner": {"name": "task_aligned", "topk": 13, "min_iou": 0.5},
        "loss": {"box": {"name": "smooth_l1", "beta": 1.0}},
        "dtype": "float64",
        "semantics": {"task_aligned": 1, "smooth_l1": 1},
    },
    "images": [
        {
            "id": "street-1",
            "predictions": [
                {
                    "index": 0, "id": "A", "state": "positive", "ground_truth": "GT1",
                    "ground_truth_index": 0, "target": 1.0, "reason": "TOP_K", "margin": 1 / 6,
                },
                {
                    "index": 1, "id": "B", "state": "negative", "ground_truth": None, "nearest": "GT2",
                    "nearest_index": 1, "reason": "BELOW_THRESHOLD", "margin": -0.2,
                },
                {
                    "index": 2, "id": "C", "state": "negative", "ground_truth": None, "nearest": "GT1",
                    "nearest_index": 0, "reason": "BELOW_THRESHOLD", "margin": -0.8,
                },
            ],
            "ground_truth": [{"index": 0, "id": "GT1"}, {"index": 1, "id": "GT2"}],
        }
    ],
}  # fmt: skip
INPUTS = {"ground_truth": "1" * 64, "predictions": "2" * 64}


def answer(*edits: Edit) -> dict[str, Any]:
    """The article's answer after some edits."""
    edited = deepcopy(ANSWER)
    for edit in edits:
        edit(edited)
    return edited


def run(*edits: Edit, inputs: dict[str, str] = INPUTS) -> Snapshot:
    """The snapshot of the edited answer."""
    return snapshot("article", inputs, answer(*edits))


def put(path: str, value: Any) -> Edit:
    """Set one element, by its path with dots."""

    def edit(document: Any) -> None:
        *parents, last = path.split(".")
        for key in parents:
            document = document[int(key) if isinstance(document, list) else key]
        document[int(last) if isinstance(document, list) else last] = value

    return edit


def drop(path: str) -> Edit:
    """Remove one element, by its path with dots."""

    def edit(document: Any) -> None:
        *parents, last = path.split(".")
        for key in parents:
            document = document[int(key) if isinstance(document, list) else key]
        del document[int(last) if isinstance(document, list) else last]

    return edit


def prediction(index: int, **fields: Any) -> Edit:
    """Change fields of one prediction of the only image."""

    def edit(document: Any) -> None:
        document["images"][0]["predictions"][index] |= fields

    return edit


def nameless(document: Any) -> None:
    """Take every id away, as COCO results have none."""
    for element in document["images"][0]["predictions"] + document["images"][0]["ground_truth"]:
        element["id"] = None
    for row in document["images"][0]["predictions"]:
        row |= {name: row[f"{name}_index"] for name in ("ground_truth", "nearest") if row.get(name)}
