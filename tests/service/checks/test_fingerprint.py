"""What changes the hash of inputs, and what does not."""

import json
from copy import deepcopy
from typing import Any

import pytest

from posneg.service.checks.fingerprint import fingerprint
from posneg.service.schemas import losses
from tests.service.checks.runs import Edit, drop, put

REQUEST: dict[str, Any] = {
    "images": [
        {
            "id": n,
            "size": [480, 640],
            "ground_truth": [
                {"id": "GT1", "label": "car", "box": [100, 50, 210, 150]},
                {"id": "GT2", "label": "person", "box": [300, 50, 370, 250]},
            ],
            "predictions": [
                {"id": "A", "box": [127.5, 50, 237.5, 150], "label": "car", "score": 0.9},
                {"id": "C", "box": [10, 50, 120, 150], "scores": {"car": 0.2, "person": 0.0}},
            ],
        }
        for n in ("street-1", "street-2")
    ],
    "classes": ["car", "person"],
}


def hashes(*edits: Edit) -> dict[str, str]:
    """The hashes of the edited request."""
    request = deepcopy(REQUEST)
    for edit in edits:
        edit(request)
    return fingerprint(losses.parse(json.dumps(request).encode()))


def reversed_at(*path: str | int) -> Edit:
    """Turn a list around."""

    def edit(document: Any) -> None:
        for key in path:
            document = document[key]
        document.reverse()

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        reversed_at("images"),
        reversed_at("images", 0, "predictions"),
        reversed_at("images", 1, "ground_truth"),
        put("images.0.predictions.0.score", 0.90000),
        put("images.0.predictions.0.label", "car"),
        put("images.0.ground_truth.0.box", [100.0, 5e1, 210, 150]),
        put("images.0.ground_truth.0.weight", 1),
        put("images.1.predictions.0.id", "B"),
        put("images.0.id", "avenue-1"),
        put("classes", ["person", "dog", "car"]),
        put("preset", "yolov8"),
        put("detail", "summary"),
    ],
)
def test_order_spelling_and_recipe_do_not_matter(edit: Edit) -> None:
    """Only what was predicted and what is true is hashed."""
    assert hashes(edit) == hashes()


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        (put("images.0.predictions.0.score", 0.9000001), "predictions"),
        (put("images.0.predictions.1.scores", {"car": 0.2}), "predictions"),
        (put("images.1.predictions.0.box", [127.5, 50, 237.5, 151]), "predictions"),
        (drop("images.1.predictions.0"), "predictions"),
        (put("images.1.predictions", []), "predictions"),
        (put("images.0.ground_truth.0.box", [100, 50, 210, 151]), "ground_truth"),
        (put("images.0.ground_truth.0.label", "person"), "ground_truth"),
        (put("images.0.ground_truth.0.ignore", True), "ground_truth"),
        (put("images.0.ground_truth.0.weight", 2), "ground_truth"),
        (put("images.0.ground_truth.0.soft_label", {"car": 0.5, "person": 0.5}), "ground_truth"),
    ],
)
def test_every_value_matters_to_its_part(edit: Edit, part: str) -> None:
    """A changed value changes the hash of its part, and says so under that name."""
    assert hashes(edit)[part] != hashes()[part]


def test_corners_and_sizes_are_one_input() -> None:
    """The same boxes as corner and size."""

    def as_sizes(document: Any) -> None:
        document["box_format"] = "xywh"
        for image in document["images"]:
            for element in (*image["ground_truth"], *image["predictions"]):
                x1, y1, x2, y2 = element["box"]
                element["box"] = [x1, y1, x2 - x1, y2 - y1]

    assert hashes(as_sizes) == hashes()


def test_predictions_leave_the_ground_truth_alone() -> None:
    """A move is traced to the side that changed."""
    changed = hashes(put("images.0.predictions.0.score", 0.5))

    assert changed["ground_truth"] == hashes()["ground_truth"]
