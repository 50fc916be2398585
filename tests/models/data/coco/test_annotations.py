"""COCO annotations: what is kept, mended or dropped, and that each is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from posneg.models.data import layouts
from posneg.models.imaging import decode
from tests.coco_zips import box, image, picture, write
from tests.models.data.coco.reading import LIMIT, codes, one, read, train, two_splits

BROKEN_BOXES = [
    (box(1, 1, ...), "BOX_MISSING"),
    (box(1, 1, None), "BOX_MISSING"),
    (box(1, 1, []), "BOX_LENGTH"),
    (box(1, 1, [1, 2, 3]), "BOX_LENGTH"),
    (box(1, 1, "1,2,3,4"), "BOX_LENGTH"),
    (box(1, 1, [1, 2, "3", 4]), "BOX_NOT_NUMERIC"),
    (box(1, 1, [1, 2, None, 4]), "BOX_NOT_NUMERIC"),
    (box(1, 1, [1, 2, True, 4]), "BOX_NOT_NUMERIC"),
    (box(1, 1, [1, 2, float("nan"), 4]), "BOX_NOT_FINITE"),
    (box(1, 1, [1, 2, float("inf"), 4]), "BOX_NOT_FINITE"),
    (box(1, 1, [1, 2, 10**400, 4]), "BOX_NOT_FINITE"),
    (box(1, 1, [10, 10, -5, 5]), "BOX_NEGATIVE_SIZE"),
    (box(1, 1, [10, 10, 5, -5]), "BOX_NEGATIVE_SIZE"),
    (box(1, 1, [10, 10, 0, 5]), "BOX_EMPTY"),
    (box(1, 1, [10, 10, 5, 0]), "BOX_EMPTY"),
    (box(1, 1, [1e20, 10, 5, 5]), "BOX_EMPTY"),
    (box(1, 1, [50, 10, 5, 5]), "BOX_OUTSIDE"),
    (box(1, 1, [-10, 10, 10, 5]), "BOX_OUTSIDE"),
    (box(1, 7), "UNKNOWN_IMAGE"),
    (box(1, ...), "UNKNOWN_IMAGE"),
    (box(1, None), "UNKNOWN_IMAGE"),
    (box(1, [1]), "UNKNOWN_IMAGE"),
    (box(1, 1, category_id=7), "UNKNOWN_CATEGORY"),
    (box(1, 1, category_id=...), "UNKNOWN_CATEGORY"),
    (box(1, 1, category_id={"a": 1}), "UNKNOWN_CATEGORY"),
    ("nonsense", "UNKNOWN_IMAGE"),
    (None, "UNKNOWN_IMAGE"),
]


@pytest.mark.parametrize(("broken", "code"), BROKEN_BOXES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_broken_annotation_is_dropped_and_named(tmp_path: Path, broken: Any, code: str) -> None:
    """With a pointer to it and its id; what stands beside it is kept."""
    dataset, issues = read(tmp_path, two_splits([image(1)], [box(5, 1), broken]))

    found = one(issues, code)
    assert found["action"] == "dropped"
    assert found["file"] == "train.json"
    assert found["pointer"] is not None
    assert found["pointer"].startswith("/annotations/1")
    assert found["id"] == (1 if isinstance(broken, dict) else None)
    assert found["detail"]
    assert train(dataset)[0].boxes.tolist() == [[5, 6, 15, 18]]


def test_a_box_that_reaches_out_is_clipped_and_told(tmp_path: Path) -> None:
    """On every side."""
    dataset, issues = read(tmp_path, two_splits([image(1)], [box(1, 1, [-5, -5, 60, 60])]))

    assert train(dataset)[0].boxes.tolist() == [[0, 0, 40, 30]]
    assert one(issues, "BOX_CLIPPED")["action"] == "clipped"


@pytest.mark.parametrize("value", [1, True])
def test_a_crowd_is_a_crowd(tmp_path: Path, value: object) -> None:
    """As COCO writes it: no finding."""
    dataset, issues = read(
        tmp_path, two_splits([image(1)], [box(1, 1), box(2, 1, [1, 1, 30, 20], iscrowd=value)])
    )

    assert train(dataset)[0].crowd.tolist() == [False, True]
    assert codes(issues) == ["IMAGES_NOT_LISTED"]


@pytest.mark.parametrize("changes", [{"ignore": 1}, {"iscrowd": 2}, {"iscrowd": "yes"}, {"ignore": True}])
def test_other_marks_to_ignore_are_treated_as_crowd_and_told(tmp_path: Path, changes: dict[str, Any]) -> None:
    """`ignore` of other tools, or a value of `iscrowd` that is none."""
    dataset, issues = read(tmp_path, two_splits([image(1)], [box(1, 1, **changes)]))

    assert train(dataset)[0].crowd.tolist() == [True]
    assert one(issues, "IGNORED_REGION")["action"] == "treated as crowd"


@pytest.mark.parametrize("value", [None, 0, False, "", "0", ...])
def test_no_mark_to_ignore_is_none(tmp_path: Path, value: object) -> None:
    """Left out, null, zero, or zero as text."""
    dataset, _ = read(tmp_path, two_splits([image(1)], [box(1, 1, iscrowd=value, ignore=value)]))

    assert train(dataset)[0].crowd.tolist() == [False]


def test_the_same_box_twice_is_kept_once(tmp_path: Path) -> None:
    """Of one class; another class, or a crowd, is another box."""
    boxes = [box(1, 1), box(2, 1), box(3, 1, category_id=2), box(4, 1, iscrowd=1)]
    dataset, issues = read(tmp_path, two_splits([image(1)], boxes))

    assert train(dataset)[0].labels.tolist() == [0, 1, 0]
    found = one(issues, "DUPLICATE_BOX")
    assert (found["id"], found["action"]) == (2, "dropped")


def test_a_shifted_copy_is_told_and_kept(tmp_path: Path) -> None:
    """labelImg puts a copied box two pixels to the right and below; it may be meant."""
    dataset, issues = read(tmp_path, two_splits([image(1)], [box(1, 1), box(2, 1, [7, 8, 10, 12])]))

    assert len(train(dataset)[0].labels) == 2
    found = one(issues, "NEAR_DUPLICATE_BOX")
    assert (found["id"], found["action"]) == (2, "kept")


def test_annotation_ids_that_repeat_are_told(tmp_path: Path) -> None:
    """Both boxes are kept: ids of annotations matter to nobody else."""
    dataset, issues = read(tmp_path, two_splits([image(1)], [box(1, 1), box(1, 1, [1, 1, 5, 5])]))

    assert len(train(dataset)[0].labels) == 2
    assert one(issues, "DUPLICATE_ANNOTATION_ID")["pointer"] == "/annotations/1"


def test_ids_of_other_types_are_the_same_ids(tmp_path: Path) -> None:
    """7, "7" and 7.0: tools differ in what they write."""
    boxes = [box(1, "1"), box(2, 1.0, [1, 1, 5, 5]), box(3, 1, [2, 9, 5, 5], category_id="2")]
    dataset, issues = read(tmp_path, two_splits([image(1)], boxes))

    assert train(dataset)[0].labels.tolist() == [0, 0, 1]
    assert codes(issues) == ["IMAGES_NOT_LISTED"]


@pytest.mark.parametrize(
    ("recorded", "action", "expected"),
    [
        ({"width": 80, "height": 60}, "scaled", [2.5, 3, 7.5, 9]),
        ({"width": 20, "height": 15}, "kept", [5, 6, 15, 18]),  # the box would not fit in it
        ({"width": 99, "height": 10}, "kept", [5, 6, 15, 18]),
    ],
)
def test_another_size_than_the_files_is_told(
    tmp_path: Path, recorded: dict[str, int], action: str, expected: list[float]
) -> None:
    """Boxes are scaled where the aspect is the same and all of them fit, else taken as they are."""
    dataset, issues = read(tmp_path, two_splits([image(1, **recorded)], [box(1, 1)]))

    assert train(dataset)[0].boxes.tolist() == [expected]
    assert train(dataset)[0].size == (30, 40)
    assert one(issues, "IMAGE_SIZE_DIFFERS")["action"] == action


@pytest.mark.parametrize("recorded", [{"width": None, "height": None}, {"width": ..., "height": ...}])
def test_no_recorded_size_is_no_finding(tmp_path: Path, recorded: dict[str, Any]) -> None:
    """The file knows it."""
    record = {key: value for key, value in image(1, **recorded).items() if value is not ...}
    _, issues = read(tmp_path, two_splits([record], [box(1, 1)]))

    assert codes(issues) == ["IMAGES_NOT_LISTED"]


@pytest.mark.parametrize(
    "recorded", [{"width": "40"}, {"height": 0}, {"height": None}, {"width": float("nan")}]
)
def test_a_recorded_size_that_is_none_is_told(tmp_path: Path, recorded: dict[str, Any]) -> None:
    """Text, zero, half of it."""
    dataset, issues = read(tmp_path, two_splits([image(1, **recorded)], [box(1, 1)]))

    assert train(dataset)[0].size == (30, 40)
    assert one(issues, "IMAGE_SIZE_INVALID")["action"] == "kept"


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_boxes_of_an_image_stored_on_its_side_are_turned_with_it(tmp_path: Path, turn: int) -> None:
    """The record has the stored size: whoever wrote the box did not see the EXIF orientation."""
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[6:18, 5:15] = 255
    exif = Image.Exif()
    exif[0x0112] = turn
    files = two_splits([image(1)], [box(1, 1)])
    write(tmp_path, files)
    Image.fromarray(pixels).save(tmp_path / "images/1.png", exif=exif)

    dataset, issues = layouts.read(tmp_path, name="pets", max_pixels=LIMIT)

    sample = train(dataset)[0]
    left, top, right, bottom = sample.boxes[0].astype(int)
    upright = decode(sample.file.read_bytes(), max_pixels=LIMIT)
    assert sample.size == upright.shape[:2] == (40, 30)
    assert upright[top:bottom, left:right].min() == 255
    assert upright.astype(int).sum() == upright[top:bottom, left:right].astype(int).sum()
    assert one(issues, "IMAGE_SIZE_DIFFERS")["action"] == "turned"


def test_a_box_seen_upright_stays(tmp_path: Path) -> None:
    """The record has the size upright: no finding."""
    exif = Image.Exif()
    exif[0x0112] = 6
    files = two_splits([image(1, width=30, height=40)], [box(1, 1)])
    dataset, issues = read(tmp_path, {**files, "images/1.png": picture(exif=exif)})

    assert train(dataset)[0].boxes.tolist() == [[5, 6, 15, 18]]
    assert train(dataset)[0].size == (40, 30)
    assert codes(issues) == ["IMAGES_NOT_LISTED"]
