"""COCO image records: files found, and everything broken named."""

from pathlib import Path
from typing import Any

import pytest

from tests.coco_zips import box, document, image, picture, pictures, simple
from tests.models.data.coco.reading import counts, one, read, train, two_splits

BROKEN_IMAGES = [
    (image(2, file_name="gone.png"), "IMAGE_MISSING"),
    (image(2, file_name="../../etc/passwd"), "IMAGE_MISSING"),
    (image(2, file_name=""), "IMAGE_RECORD_INVALID"),
    (image(2, file_name=7), "IMAGE_RECORD_INVALID"),
    (image(2, id=None), "IMAGE_RECORD_INVALID"),
    (image(2, id=True), "IMAGE_RECORD_INVALID"),
    ("nonsense", "IMAGE_RECORD_INVALID"),
    (image(1, file_name="2.png"), "DUPLICATE_IMAGE_ID"),
    (image(2, file_name="text.png"), "IMAGE_UNREADABLE"),
    (image(2, file_name="cut.png"), "IMAGE_UNREADABLE"),
    (image(2, file_name="huge.png"), "IMAGE_UNREADABLE"),
    (image(2, file_name="old.bmp"), "IMAGE_UNREADABLE"),
]


@pytest.mark.parametrize(("broken", "code"), BROKEN_IMAGES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_broken_image_is_dropped_and_named(tmp_path: Path, broken: Any, code: str) -> None:
    """With its annotations, which are counted; the other images are kept."""
    files = two_splits([image(1), broken], [box(5, 1), box(6, 2)])
    files |= {
        "images/text.png": b"hello",
        "images/cut.png": picture(seed=3)[:-200],
        "images/huge.png": picture(1001, 1000),
        "images/old.bmp": picture(file_format="BMP"),
    }
    dataset, issues = read(tmp_path, files)

    found = one(issues, code)
    assert found["action"] == "dropped"
    assert found["pointer"] == "/images/1"
    assert len(train(dataset)) == 1
    if code in ("IMAGE_MISSING", "IMAGE_UNREADABLE"):
        assert "1 annotations go with it" in found["detail"]


def test_a_name_that_two_files_have_is_ambiguous(tmp_path: Path) -> None:
    """Neither is guessed."""
    files = two_splits([image(1), image(2, file_name="x.png")], [box(1, 1)])
    _, issues = read(tmp_path, {**files, "a/x.png": picture(), "b/x.png": picture()})

    assert "a/x.png, b/x.png" in one(issues, "IMAGE_AMBIGUOUS")["detail"]


def test_a_missing_image_is_not_replaced_by_its_namesake(tmp_path: Path) -> None:
    """cat/1.png is missing; dog/1.png, which another record names in full, is not taken for it."""
    images = [image(1, file_name="dog/1.png"), image(2, file_name="cat/1.png")]
    files = {"train.json": document(images, [box(1, 1), box(2, 2)]), "dog/1.png": picture()}
    dataset, issues = read(tmp_path, files)

    assert [s.id for s in train(dataset)] == ["dog/1.png"]
    assert one(issues, "IMAGE_MISSING")["id"] == 2


def test_an_image_listed_twice_becomes_one(tmp_path: Path) -> None:
    """Some converters write a record for each box."""
    images = [image(1), image(2, file_name="1.png")]
    dataset, issues = read(tmp_path, two_splits(images, [box(1, 1), box(2, 2, [1, 1, 5, 5])]))

    assert [len(s.labels) for s in train(dataset)] == [2]
    assert one(issues, "DUPLICATE_IMAGE")["action"] == "merged"


def test_images_without_boxes_are_kept_and_told(tmp_path: Path) -> None:
    """They are negatives."""
    dataset, issues = read(tmp_path, two_splits([image(1), image(2)], [box(1, 1)]))

    assert [len(s.labels) for s in train(dataset)] == [1, 0]
    assert train(dataset)[1].boxes.shape == (0, 4)
    assert "1 of 2 images in train" in one(issues, "IMAGES_WITHOUT_BOXES")["detail"]


def test_images_of_two_splits_are_told(tmp_path: Path) -> None:
    """A metric on what was trained on flatters."""
    files = {"train.json": simple([1, 2]), "val.json": simple([2]), **pictures("images/", [1, 2])}
    dataset, issues = read(tmp_path, files)

    assert counts(dataset) == {"train": 2, "val": 1}
    assert "images/2.png" in one(issues, "IMAGES_IN_SEVERAL_SPLITS")["detail"]
