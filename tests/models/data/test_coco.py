"""COCO as it is found in the wild: every layout read, everything broken named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from posneg.models.data import layouts
from posneg.models.data.dataset import Dataset, Sample, read_index, write_index
from posneg.models.data.issues import Issue, LayoutError
from posneg.models.imaging import decode
from tests.coco_zips import CATEGORIES, box, document, image, picture, pictures, shared, simple, write

LIMIT = 1_000_000


def read(folder: Path, files: dict[str, bytes]) -> tuple[Dataset, list[Issue]]:
    return layouts.read(write(folder, files), name="pets", max_pixels=LIMIT)


def counts(dataset: Dataset) -> dict[str, int]:
    return {split: len(samples) for split, samples in dataset.splits.items()}


def codes(issues: list[Issue]) -> list[str]:
    return [i["code"] for i in issues]


def one(issues: list[Issue], code: str) -> Issue:
    found = [i for i in issues if i["code"] == code]
    assert len(found) == 1, f"{code} in {codes(issues)}"
    return found[0]


def two_splits(
    train_images: list[Any], annotations: list[Any], categories: list[Any] = CATEGORIES
) -> dict[str, bytes]:
    """A broken training file beside a validation file in order."""
    return {
        "train.json": document(train_images, annotations, categories),
        "val.json": simple([9]),
        **pictures("images/", [1, 2, 9]),
    }


def train(dataset: Dataset) -> tuple[Sample, ...]:
    return dataset.splits["train"]


LAYOUTS = {
    "the original": {
        "annotations/instances_train2017.json": simple([1, 2, 3]),
        "annotations/instances_val2017.json": simple([4]),
        "annotations/captions_train2017.json": document([image(1)], [{"id": 1, "caption": "x"}], ()),
        "annotations/person_keypoints_train2017.json": simple([1]),
        **pictures("train2017/", [1, 2, 3]),
        **pictures("val2017/", [4]),
    },
    "a wrapping folder": {
        "pets/annotations/instances_train.json": simple([1, 2, 3]),
        "pets/annotations/instances_val.json": simple([4]),
        **pictures("pets/images/", [1, 2, 3, 4]),
    },
    "files beside one folder": {
        "train.json": simple([1, 2, 3]),
        "val.json": simple([4]),
        **pictures("images/", [1, 2, 3, 4]),
    },
    "roboflow": {
        "train/_annotations.coco.json": simple([1, 2, 3]),
        "valid/_annotations.coco.json": simple([4]),
        "README.roboflow.txt": b"exported",
        **pictures("train/", [1, 2, 3]),
        **pictures("valid/", [4]),
    },
    "the same names in each split": {
        "train.json": simple([1, 2, 3]),
        "val.json": simple([1]),
        **pictures("images/train/", [1, 2, 3]),
        **pictures("images/val/", [1]),
    },
    "paths of another machine": {
        "train.json": document(
            [
                image(1, file_name="/home/me/pets/images/1.png"),
                image(2, file_name="C:\\pets\\images\\2.PNG"),
                image(3, file_name="../images/./3.png"),
            ],
            [box(n, n) for n in (1, 2, 3)],
        ),
        "val.json": simple([4]),
        **pictures("data/images/", [1, 2, 3, 4]),
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_splits(tmp_path: Path, layout: str) -> None:
    """Three images for training and one for validation, each with its own file and box."""
    dataset, issues = read(tmp_path, LAYOUTS[layout])

    assert counts(dataset) == {"train": 3, "val": 1}
    assert dataset.classes == ("cat", "dog")
    assert set(codes(issues)) <= {"ANNOTATION_FILE_SKIPPED"}
    for sample in train(dataset):
        assert sample.file.is_file()
        assert sample.size == (30, 40)
        assert sample.boxes.tolist() == [[5, 6, 15, 18]]
        assert sample.labels.tolist() == [0]
        assert sample.crowd.tolist() == [False]
    assert [s.file.stem for s in train(dataset)] == ["1", "2", "3"]


def test_other_tasks_files_are_left_out_and_told(tmp_path: Path) -> None:
    """Captions have no boxes; key points would repeat the boxes of people."""
    _, issues = read(tmp_path, LAYOUTS["the original"])

    assert sorted(i["file"] for i in issues) == [
        "annotations/captions_train2017.json",
        "annotations/person_keypoints_train2017.json",
    ]


@pytest.mark.parametrize(
    "name", ["annotations.json", "result.json", "annotations/instances_default.json", "val.json"]
)
def test_one_file_alone_is_cut_in_two_and_told(tmp_path: Path, name: str) -> None:
    """A fifth is held out, the same whatever the order of the list, whatever the file's name."""
    numbers = list(range(1, 21))
    dataset, issues = read(tmp_path / "a", {name: simple(numbers), **pictures("images/", numbers)})
    other, _ = read(tmp_path / "b", {name: simple(numbers[::-1]), **pictures("images/", numbers)})

    assert counts(dataset) == {"train": 16, "val": 4}
    assert one(issues, "SPLIT_MADE")["action"] == "split"
    for split in ("train", "val"):
        assert {s.id for s in dataset.splits[split]} == {s.id for s in other.splits[split]}


def test_a_file_without_a_split_is_for_training(tmp_path: Path) -> None:
    """Where the others are for validation and test."""
    files = {"all.json": simple([1]), "val.json": simple([2]), **pictures("", [1, 2])}
    dataset, issues = read(tmp_path, files)

    assert counts(dataset) == {"train": 1, "val": 1}
    assert one(issues, "SPLIT_ASSUMED")["file"] == "all.json"


def test_a_file_without_a_split_beside_all_splits_is_left_out(tmp_path: Path) -> None:
    """It most likely repeats them."""
    files = {"all.json": simple([1, 2]), "train.json": simple([1]), "val.json": simple([2])}
    dataset, issues = read(tmp_path, {**files, **pictures("", [1, 2])})

    assert counts(dataset) == {"train": 1, "val": 1}
    assert one(issues, "ANNOTATION_FILE_SKIPPED")["file"] == "all.json"


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


def test_classes_are_joined_on_their_names(tmp_path: Path) -> None:
    """The files' ids differ; the order is that of the training file's ids."""
    other = [{"id": 0, "name": "dog"}, {"id": 7, "name": "cow"}, {"id": 3, "name": "cat"}]
    files = {
        "train.json": document(
            [image(1)], [box(1, 1, category_id=2)], [{"id": 10, "name": "cat"}, {"id": 2, "name": "dog"}]
        ),
        "val.json": document(
            [image(2)], [box(1, 2, category_id=0), box(2, 2, [1, 1, 5, 5], category_id=7)], other
        ),
        **pictures("", [1, 2]),
    }
    dataset, issues = read(tmp_path, files)

    assert dataset.classes == ("dog", "cat", "cow")
    assert train(dataset)[0].labels.tolist() == [0]
    assert dataset.splits["val"][0].labels.tolist() == [0, 2]
    assert issues == []


BROKEN_CATEGORIES = [
    ({"name": "cow"}, "CATEGORY_INVALID", "dropped"),
    ("cow", "CATEGORY_INVALID", "dropped"),
    ({"id": 3}, "CATEGORY_INVALID", "kept"),
    ({"id": 3, "name": None}, "CATEGORY_INVALID", "kept"),
    ({"id": 1, "name": "cow"}, "DUPLICATE_CATEGORY_ID", "dropped"),
    ({"id": 3, "name": "cat"}, "DUPLICATE_CATEGORY_NAME", "merged"),
]


@pytest.mark.parametrize(("broken", "code", "action"), BROKEN_CATEGORIES)
def test_a_broken_category_is_named(tmp_path: Path, broken: Any, code: str, action: str) -> None:
    """With what became of it."""
    _, issues = read(tmp_path, two_splits([image(1)], [box(1, 1)], [*CATEGORIES, broken]))

    found = one(issues, code)
    assert (found["action"], found["pointer"]) == (action, "/categories/2")


def test_a_class_name_is_made_printable(tmp_path: Path) -> None:
    """It travels through terminals, headers and databases."""
    dataset, _ = read(tmp_path, two_splits([image(1)], [box(1, 1)], [{"id": 1, "name": " ca\0t\ud800\n"}]))

    assert dataset.classes[0] == "ca\N{REPLACEMENT CHARACTER}t\N{REPLACEMENT CHARACTER}"


def test_one_name_with_two_ids_is_one_class(tmp_path: Path) -> None:
    """Boxes of both ids have it."""
    categories = [*CATEGORIES, {"id": 3, "name": "cat"}]
    boxes = [box(1, 1), box(2, 1, [1, 1, 5, 5], category_id=3)]
    dataset, _ = read(tmp_path, two_splits([image(1)], boxes, categories))

    assert train(dataset)[0].labels.tolist() == [0, 0]


def test_roboflows_root_category_is_no_class(tmp_path: Path) -> None:
    """Parent of all others, used by no box; where a box has it, it stays."""
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "pets"},
        {"id": 2, "name": "dog", "supercategory": "pets"},
    ]

    def files(category: int) -> dict[str, bytes]:
        boxes = [box(1, 1, category_id=category)]
        return {
            "train.json": document([image(1)], boxes, categories),
            "valid.json": document([image(2)], [], categories),
            **pictures("", [1, 2]),
        }

    dataset, issues = read(tmp_path / "a", files(1))
    assert dataset.classes == ("cat", "dog")
    assert one(issues, "ROOT_CATEGORY")["action"] == "dropped"
    dataset, issues = read(tmp_path / "b", files(0))
    assert dataset.classes == ("pets", "cat", "dog")
    assert "ROOT_CATEGORY" not in codes(issues)


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b'{"images": [', b"\xff\xfe\x00", b"[" * 200_000, b'{"a": ' + b"9" * 5000 + b"}"],
    ids=["empty", "open", "cut", "not text", "deep", "long number"],
)
def test_an_annotation_file_that_is_no_json_is_told(tmp_path: Path, broken: bytes) -> None:
    """And the others are read."""
    files = {**two_splits([image(1)], [box(1, 1)]), "test.json": broken}
    dataset, issues = read(tmp_path, files)

    assert counts(dataset) == {"train": 1, "val": 1}
    assert one(issues, "ANNOTATION_FILE_UNREADABLE")["file"] == "test.json"


UNKNOWN = {
    "nothing": ({}, "no files"),
    "images alone": (pictures("", [1]), "1 .png"),
    "yolo": ({**pictures("images/", [1]), "labels/1.txt": b"0 .5 .5 .1 .1", "data.yaml": b"nc: 1"}, "YOLO"),
    "voc": ({**pictures("JPEGImages/", [1]), "Annotations/1.xml": b"<annotation/>"}, "Pascal VOC"),
    "an inner zip": ({"pets.zip": b"PK"}, "archive within"),
    "results": ({"results.json": json.dumps([box(1, 1)]).encode()}, "no COCO annotations"),
    "captions": ({"captions.json": document([image(1)], [], ())[:-20] + b"}"}, "no COCO"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_an_unknown_layout_says_what_was_found_and_what_is_expected(tmp_path: Path, kind: str) -> None:
    """So that the caller knows what to change."""
    files, found = UNKNOWN[kind]

    with pytest.raises(LayoutError, match=found) as caught:
        read(tmp_path, files)

    assert caught.value.code == "UNKNOWN_LAYOUT"
    assert "expected COCO: annotations/instances_train.json" in str(caught.value)


def test_a_data_set_without_a_usable_box_is_refused(tmp_path: Path) -> None:
    """With the reasons."""
    files = {"train.json": document([image(1)], [box(1, 1, [0, 0, 0, 0])]), **pictures("", [1])}

    with pytest.raises(LayoutError) as caught:
        read(tmp_path, files)

    assert caught.value.code == "NOTHING_USABLE"
    assert "BOX_EMPTY" in codes(caught.value.issues)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_index_reads_back_what_was_written(tmp_path: Path, layout: str) -> None:
    """Boxes to the bit, sizes, crowds, files; and always the same bytes."""
    folder = write(tmp_path / "files", LAYOUTS[layout])
    dataset, _ = layouts.read(folder, name="pets", max_pixels=LIMIT)

    write_index(dataset, tmp_path)
    first = (tmp_path / "dataset.json").read_bytes()
    again = read_index(tmp_path, name="pets")
    write_index(again, tmp_path)

    assert (tmp_path / "dataset.json").read_bytes() == first
    assert again.classes == dataset.classes
    for split, samples in dataset.splits.items():
        for sample, other in zip(again.splits[split], samples, strict=True):
            assert (sample.id, sample.file, sample.size) == (other.id, other.file, other.size)
            assert sample.boxes.tobytes() == other.boxes.tobytes()
            assert sample.labels.tolist() == other.labels.tolist()
            assert sample.crowd.tolist() == other.crowd.tolist()


@pytest.mark.parametrize(
    ("name", "images", "boxes"),
    [
        ("bccd", {"train": 205, "val": 87, "test": 72}, {"train": 2800, "val": 1135, "test": 944}),
        ("bccd-mini", {"train": 40, "val": 16}, {"train": 577, "val": 240}),
    ],
)
def test_blood_cells_are_read_without_a_finding(
    name: str, images: dict[str, int], boxes: dict[str, int]
) -> None:
    """A real data set in order: every box that its files hold."""
    dataset, issues = layouts.read(shared(name), name=name, max_pixels=LIMIT)

    assert issues == []
    assert dataset.classes == ("RBC", "WBC", "Platelets")
    assert counts(dataset) == images
    assert {s: sum(len(x.labels) for x in v) for s, v in dataset.splits.items()} == boxes


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from([0, 1, "1", "1.png", "\ud800", "a\0", 2**99, "x" * 1000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


def entry(*members: str) -> st.SearchStrategy[Any]:
    """An object with some of the members, of any value; or any value at all."""
    return anything | st.fixed_dictionaries({}, optional=dict.fromkeys(members, anything))


@given(
    images=st.lists(entry("id", "file_name", "width", "height"), max_size=3),
    boxes=st.lists(entry("id", "image_id", "category_id", "bbox", "iscrowd", "ignore"), max_size=3),
    categories=st.lists(entry("id", "name", "supercategory"), max_size=3),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_gives_a_data_set_or_a_layout_error(
    tmp_path: Path, images: list[Any], boxes: list[Any], categories: list[Any]
) -> None:
    """Whatever stands where: no other exception, and every box that is left lies in its image."""
    content = {"images": [image(1), *images], "annotations": boxes, "categories": [*CATEGORIES, *categories]}
    files = {"train.json": json.dumps(content).encode(), "1.png": picture()}
    try:
        dataset, issues = read(tmp_path, files)
    except LayoutError as error:
        issues = error.issues
    else:
        write_index(dataset, tmp_path)
        for sample in dataset.splits["train"]:
            assert (sample.boxes[:, :2] >= 0).all()
            assert (sample.boxes[:, 2:] <= [40, 30]).all()
            assert (sample.boxes[:, :2] < sample.boxes[:, 2:]).all()
    assert len(json.dumps(issues, allow_nan=False, ensure_ascii=False).encode()) < 50_000
