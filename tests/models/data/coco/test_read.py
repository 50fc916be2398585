"""COCO as it is found in the wild: every layout read, whatever stands in it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posneg.models.data import layouts
from posneg.models.data.dataset import read_index, write_index
from posneg.models.data.issues import LayoutError
from tests.coco_zips import CATEGORIES, box, document, image, picture, pictures, shared, simple, write
from tests.models.data.coco.reading import LAYOUTS, LIMIT, codes, counts, one, read, train


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
