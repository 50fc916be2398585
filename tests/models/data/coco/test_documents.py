"""COCO annotation files: recognised, joined on class names, everything broken named."""

from pathlib import Path
from typing import Any

import pytest

from posneg.models.data.coco import documents
from tests.coco_zips import CATEGORIES, box, document, image, pictures
from tests.models.data.coco.reading import LAYOUTS, codes, counts, one, read, train, two_splits


def test_other_tasks_files_are_left_out_and_told(tmp_path: Path) -> None:
    """Captions have no boxes; key points would repeat the boxes of people."""
    _, issues = read(tmp_path, LAYOUTS["the original"])

    assert sorted(i["file"] for i in issues) == [
        "annotations/captions_train2017.json",
        "annotations/person_keypoints_train2017.json",
    ]


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


def test_annotation_files_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in memory at once; what is beyond the limit is told."""
    files = two_splits([image(1)], [box(1, 1)])
    monkeypatch.setattr(documents, "MAX_BYTES", len(files["train.json"]) + len(files["val.json"]))
    dataset, _ = read(tmp_path / "a", files)
    assert counts(dataset) == {"train": 1, "val": 1}

    monkeypatch.setattr(documents, "MAX_BYTES", len(files["train.json"]) + len(files["val.json"]) - 1)
    dataset, issues = read(tmp_path / "b", files)
    assert one(issues, "ANNOTATION_FILE_UNREADABLE")["file"] == "val.json"
    assert [s.id for group in dataset.splits.values() for s in group] == ["images/1.png"]
