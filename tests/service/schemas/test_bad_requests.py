"""What is wrong with a request: each bad element is pointed at, by one fault, with a code."""

import json
from typing import Any

import pytest

from posneg.service.errors import InvalidJson, InvalidRequest, TooLarge
from posneg.service.schemas import decoding, images, labels
from posneg.service.schemas.loss_request import EXAMPLE
from posneg.service.schemas.losses import parse
from tests.service.schemas.requests import COCO, GRID, HEAD, Json, Path, changed, faults, refusal, without

IMAGE: Path = ("images", 0)
TRUTH: Path = (*IMAGE, "ground_truth", 1)
GUESS: Path = (*IMAGE, "predictions")

ENVELOPE: list[tuple[Path, Any, str, str]] = [
    (("classes",), "car", "/classes", "wrong_type"),
    (("classes",), ["car", 3], "/classes/1", "wrong_type"),
    (("classes",), ["car", "person", "car"], "/classes/2", "duplicate_class"),
    (("box_format",), "xyhw", "/box_format", "unknown_value"),
    (("dtype",), "float8", "/dtype", "unknown_value"),
    (("detail",), 1, "/detail", "unknown_value"),
    (("gradients",), "yes", "/gradients", "wrong_type"),
    (("head",), "both", "/head", "unknown_value"),
    (("preset",), ["tood"], "/preset", "wrong_type"),
    (("group_by",), ["image", "colour"], "/group_by/1", "unknown_value"),
    (("assigner",), "atss", "/assigner", "wrong_type"),
    (("loss",), {"box": "giou"}, "/loss/box", "wrong_type"),
    (("loss",), {"box": {"beta": [[[[[[[[[1]]]]]]]]]}}, "/loss/box/beta/0/0/0/0/0/0/0", "too_deep"),
    (("distributed",), {"ranks": [["street-1"]]}, "/distributed", "not_supported"),
    (("imgaes",), [], "/imgaes", "unknown_field"),
    (("a/b~c",), 1, "/a~1b~0c", "unknown_field"),
    (("images",), {}, "/images", "wrong_type"),
    (("images",), [[]], "/images/0", "wrong_type"),
    (("coco",), {}, "/images", "conflicting_fields"),
]
ELEMENTS: list[tuple[Path, Any, str, str]] = [
    ((*IMAGE, "id"), 1.5, "/images/0/id", "wrong_type"),
    ((*IMAGE, "id"), 2**64, "/images/0/id", "wrong_type"),
    ((*IMAGE, "size"), [480], "/images/0/size", "wrong_type"),
    ((*IMAGE, "size"), [480, "640"], "/images/0/size", "wrong_type"),
    ((*IMAGE, "size"), [480, 0], "/images/0/size", "out_of_range"),
    ((*IMAGE, "size"), [480, float("nan")], "/images/0/size", "out_of_range"),
    ((*IMAGE, "widht"), 640, "/images/0/widht", "unknown_field"),
    ((*IMAGE, "ground_truth"), "none", "/images/0/ground_truth", "wrong_type"),
    (TRUTH, 5, "/images/0/ground_truth/1", "wrong_type"),
    ((*TRUTH, "box"), None, "/images/0/ground_truth/1/box", "missing_field"),
    ((*TRUTH, "box"), 4, "/images/0/ground_truth/1/box", "wrong_type"),
    ((*TRUTH, "box"), [1, 2, 3], "/images/0/ground_truth/1/box", "wrong_length"),
    ((*TRUTH, "box"), [1, 2, 3, "4"], "/images/0/ground_truth/1/box", "wrong_type"),
    ((*TRUTH, "box"), [1, 2, 3, True], "/images/0/ground_truth/1/box", "wrong_type"),
    ((*TRUTH, "box"), [1, 2, 3, None], "/images/0/ground_truth/1/box", "wrong_type"),
    ((*TRUTH, "label"), None, "/images/0/ground_truth/1/label", "missing_field"),
    ((*TRUTH, "label"), "cat", "/images/0/ground_truth/1/label", "unknown_class"),
    ((*TRUTH, "label"), 2, "/images/0/ground_truth/1/label", "label_out_of_range"),
    ((*TRUTH, "label"), -1, "/images/0/ground_truth/1/label", "label_out_of_range"),
    ((*TRUTH, "label"), 1.0, "/images/0/ground_truth/1/label", "wrong_type"),
    ((*TRUTH, "label"), True, "/images/0/ground_truth/1/label", "wrong_type"),
    ((*TRUTH, "id"), "GT1", "/images/0/ground_truth/1/id", "duplicate_id"),
    ((*TRUTH, "id"), [1], "/images/0/ground_truth/1/id", "wrong_type"),
    ((*TRUTH, "ignore"), "no", "/images/0/ground_truth/1/ignore", "wrong_type"),
    ((*TRUTH, "weight"), -1, "/images/0/ground_truth/1/weight", "out_of_range"),
    ((*TRUTH, "weight"), float("inf"), "/images/0/ground_truth/1/weight", "out_of_range"),
    ((*TRUTH, "weight"), float("nan"), "/images/0/ground_truth/1/weight", "out_of_range"),
    ((*TRUTH, "weight"), "2", "/images/0/ground_truth/1/weight", "wrong_type"),
    ((*TRUTH, "soft_label"), {"cat": 1}, "/images/0/ground_truth/1/soft_label/cat", "unknown_class"),
    ((*TRUTH, "soft_label"), {"car": 2}, "/images/0/ground_truth/1/soft_label/car", "out_of_range"),
    ((*TRUTH, "soft_label"), [1, 0], "/images/0/ground_truth/1/soft_label", "wrong_type"),
    ((*TRUTH, "wieght"), 1, "/images/0/ground_truth/1/wieght", "unknown_field"),
    ((*GUESS, 0), None, "/images/0/predictions/0", "wrong_type"),
    ((*GUESS, 0, "box"), [], "/images/0/predictions/0/box", "wrong_length"),
    ((*GUESS, 0, "label"), "cat", "/images/0/predictions/0/label", "unknown_class"),
    ((*GUESS, 0, "score"), "high", "/images/0/predictions/0/score", "wrong_type"),
    ((*GUESS, 0, "score"), 90, "/images/0/predictions/0/score", "not_a_probability"),
    ((*GUESS, 0, "score"), None, "/images/0/predictions/0/score", "missing_field"),
    ((*GUESS, 1, "id"), "A", "/images/0/predictions/1/id", "duplicate_id"),
    ((*GUESS, 2, "score"), 0.5, "/images/0/predictions/2/score", "conflicting_fields"),
    ((*GUESS, 2, "scores"), {}, "/images/0/predictions/2/scores", "missing_field"),
    ((*GUESS, 2, "scores"), [0.2], "/images/0/predictions/2/scores", "wrong_type"),
    ((*GUESS, 2, "scores"), {"bus": 0.2}, "/images/0/predictions/2/scores/bus", "unknown_class"),
    ((*GUESS, 2, "scores"), {"car": False}, "/images/0/predictions/2/scores/car", "wrong_type"),
    ((*GUESS, 2, "logits"), {"car": 1}, "/images/0/predictions/2/logits", "unknown_field"),
]
COLUMNS: list[tuple[Json, Path, Any, str, str]] = [
    (GRID, (*GUESS, "boxes"), [[1, 2, 3, 4]], "/images/0/predictions/logits", "row_count"),
    (GRID, (*GUESS, "boxes", 2), [1, 2, 3], "/images/0/predictions/boxes/2", "wrong_length"),
    (GRID, (*GUESS, "boxes", 2), "row", "/images/0/predictions/boxes/2", "wrong_type"),
    (GRID, (*GUESS, "boxes", 2, 1), "8", "/images/0/predictions/boxes/2/1", "wrong_type"),
    (GRID, (*GUESS, "boxes", 2, 1), True, "/images/0/predictions/boxes/2/1", "wrong_type"),
    (GRID, (*GUESS, "boxes", 2, 1), None, "/images/0/predictions/boxes/2/1", "wrong_type"),
    (GRID, (*GUESS, "boxes", 2, 1), [8], "/images/0/predictions/boxes/2/1", "wrong_type"),
    (GRID, (*GUESS, "logits", 1), [1, 2, 3], "/images/0/predictions/logits/1", "wrong_length"),
    (GRID, (*GUESS, "logits"), [[1, 2, 3, 4]] * 4, "/images/0/predictions/logits", "column_count"),
    (GRID, (*GUESS, "logits"), [[1]] * 4, "/images/0/predictions/logits", "column_count"),
    (GRID, (*GUESS, "scores"), [[0, 1]] * 4, "/images/0/predictions/logits", "conflicting_fields"),
    (GRID, (*GUESS, "logtis"), [], "/images/0/predictions/logtis", "unknown_field"),
    (GRID, (*GUESS, "objectness"), [[1], 0, 0, 0], "/images/0/predictions/objectness/0", "wrong_type"),
    (GRID, (*GUESS, "objectness"), {}, "/images/0/predictions/objectness", "wrong_type"),
    (GRID, (*GUESS, "points"), [[0, 0]] * 4, "/images/0/predictions/grid", "conflicting_fields"),
    (GRID, (*GUESS, "grid"), 8, "/images/0/predictions/grid", "wrong_type"),
    (GRID, (*GUESS, "grid", "strides"), [4], "/images/0/predictions/grid", "grid_mismatch"),
    (GRID, (*GUESS, "grid", "strides"), [], "/images/0/predictions/grid/strides", "missing_field"),
    (GRID, (*GUESS, "grid", "strides"), [0], "/images/0/predictions/grid/strides/0", "out_of_range"),
    (GRID, (*GUESS, "grid", "strides"), [1e-300], "/images/0/predictions/grid", "grid_mismatch"),
    (GRID, (*GUESS, "grid", "offset"), 8, "/images/0/predictions/grid/offset", "out_of_range"),
    (GRID, (*GUESS, "grid", "stride"), 8, "/images/0/predictions/grid/stride", "unknown_field"),
    (GRID, (*IMAGE, "size"), None, "/images/0/predictions/grid", "missing_field"),
    (HEAD, (*GUESS, "dfl", 1), [[1, 2, 3]], "/images/0/predictions/dfl/1", "wrong_length"),
    (HEAD, (*GUESS, "dfl", 1, 2), [1, 2], "/images/0/predictions/dfl/1/2", "wrong_length"),
    (HEAD, (*GUESS, "dfl"), [[[1]] * 4] * 5, "/images/0/predictions/dfl", "wrong_length"),
    (HEAD, (*GUESS, "strides", 4), -8, "/images/0/predictions/strides/4", "out_of_range"),
    (HEAD, (*GUESS, "strides", 4), "8", "/images/0/predictions/strides/4", "wrong_type"),
    (HEAD, (*GUESS, "strides"), None, "/images/0/predictions/strides", "missing_field"),
    (HEAD, (*GUESS, "points"), None, "/images/0/predictions/points", "missing_field"),
    (HEAD, (*GUESS, "dfl"), None, "/images/0/predictions/boxes", "missing_field"),
    (HEAD, (*GUESS, "logits"), None, "/images/0/predictions/scores", "missing_field"),
    (HEAD, (*GUESS, "sampled"), 3, "/images/0/predictions/sampled", "wrong_type"),
    (HEAD, (*GUESS, "sampled"), [0, 5], "/images/0/predictions/sampled/1", "out_of_range"),
    (HEAD, (*GUESS, "sampled"), [0, 0], "/images/0/predictions/sampled/1", "duplicate_row"),
    (HEAD, (*GUESS, "sampled"), [0.0], "/images/0/predictions/sampled/0", "wrong_type"),
]
SET: Path = ("coco", "ground_truth")
AT = "/coco/ground_truth"
PAIRS: list[tuple[Path, Any, str, str]] = [
    (("coco",), [], "/coco", "wrong_type"),
    (SET, [], AT, "wrong_type"),
    ((*SET, "images"), None, f"{AT}/images", "missing_field"),
    ((*SET, "annotations"), {}, f"{AT}/annotations", "wrong_type"),
    ((*SET, "categories"), [{"id": 0}, {"id": 90}, {"id": 0}], f"{AT}/categories/2/id", "duplicate_id"),
    ((*SET, "images", 1, "id"), None, f"{AT}/images/1/id", "missing_field"),
    ((*SET, "images", 1, "id"), True, f"{AT}/images/1/id", "wrong_type"),
    ((*SET, "annotations", 1), None, f"{AT}/annotations/1", "wrong_type"),
    ((*SET, "annotations", 1, "bbox"), None, f"{AT}/annotations/1/bbox", "missing_field"),
    ((*SET, "annotations", 1, "bbox"), [1, 2, 3], f"{AT}/annotations/1/bbox", "wrong_length"),
    ((*SET, "annotations", 1, "bbox"), [1, 2, 3, "4"], f"{AT}/annotations/1/bbox", "wrong_type"),
    ((*SET, "annotations", 1, "image_id"), 9, f"{AT}/annotations/1/image_id", "unknown_image"),
    ((*SET, "annotations", 1, "category_id"), 9, f"{AT}/annotations/1/category_id", "unknown_category"),
    ((*SET, "annotations", 1, "iscrowd"), "yes", f"{AT}/annotations/1/iscrowd", "wrong_type"),
    (("coco", "predictions"), "results.json", "/coco/predictions", "wrong_type"),
    (("coco", "predictions"), {}, "/coco/predictions/annotations", "missing_field"),
    (("coco", "predictions", 1, "bbox"), [1], "/coco/predictions/1/bbox", "wrong_length"),
    (("coco", "predictions", 1, "score"), None, "/coco/predictions/1/score", "missing_field"),
    (("coco", "predictions", 1, "score"), 20, "/coco/predictions/1/score", "not_a_probability"),
    (("coco", "predictions", 1, "image_id"), None, "/coco/predictions/1/image_id", "missing_field"),
    (("coco", "detections"), [], "/coco/detections", "unknown_field"),
    (("box_format",), "xyxy", "/box_format", "conflicting_fields"),
    (("grid",), {"strides": [8]}, "/grid", "conflicting_fields"),
    (("classes",), ["person"], f"{AT}/annotations/0/category_id", "unknown_class"),
]
TABLE = [
    *((EXAMPLE, *row) for row in ENVELOPE + ELEMENTS),
    *COLUMNS,
    *((COCO, *row) for row in PAIRS),
]


@pytest.mark.parametrize(("request_", "path", "value", "pointer", "code"), TABLE, ids=lambda v: str(v)[:40])
def test_a_bad_element_is_pointed_at(
    request_: Json, path: Path, value: object, pointer: str, code: str
) -> None:
    """One wrong value gives one fault: at its own pointer, with its own code, dragging none behind it."""
    assert faults(changed(request_, path, value)) == {pointer: code}


def test_all_faults_are_told_at_once() -> None:
    """Faults of the envelope, of images and of elements come in one problem."""
    request = changed(EXAMPLE, (*TRUTH, "box"), [1])
    request = changed(request, (*GUESS, 0, "label"), "cat")
    request = changed(request, ("detial",), "full")

    found = faults(request)

    assert found == {
        "/detial": "unknown_field",
        "/images/0/ground_truth/1/box": "wrong_length",
        "/images/0/predictions/0/label": "unknown_class",
    }


def test_faults_beyond_those_named_are_counted() -> None:
    """A hundred are listed in words; the number of all of them is told."""
    row = [None] * 400
    error = refusal(changed(GRID, (*GUESS, "objectness"), row))

    assert len(error.faults) == 100
    assert error.faults_total == 400
    assert "400 elements" in error.detail


def test_the_nearest_known_name_is_suggested() -> None:
    """A misspelt field or class names what was probably meant."""
    fields = refusal(changed(EXAMPLE, ("detial",), "full"))
    classes = refusal(changed(EXAMPLE, (*TRUTH, "label"), "persn"))

    assert "did you mean 'detail'?" in fields.detail
    assert "did you mean 'person'?" in classes.detail


@pytest.mark.parametrize("value", [None, 1, "text", [], True, 1.5])
def test_what_is_no_object_is_refused(value: object) -> None:
    """A request is an object."""
    assert faults(value) == {"": "wrong_type"}


def test_one_of_images_and_coco_is_needed() -> None:
    """Neither form is no request."""
    assert faults({}) == {"/images": "missing_field"}


def test_image_ids_are_unique() -> None:
    """Two images of one id are told apart by nobody; an index stands for a missing id."""
    image = EXAMPLE["images"][0]
    twice = changed(EXAMPLE, ("images",), [image, image])
    taken = changed(EXAMPLE, ("images",), [without(image, ("id",)), {**image, "id": 0}])

    assert faults(twice) == {"/images/1/id": "duplicate_id"}
    assert faults(taken) == {"/images/1/id": "duplicate_id"}


def test_numbers_and_names_do_not_mix_without_a_list() -> None:
    """Without `classes` nobody knows which name a number stands for."""
    request = without(changed(EXAMPLE, (*TRUTH, "label"), 1), ("classes",))

    assert faults(request) == {"/images/0/ground_truth/1/label": "mixed_labels"}


def test_images_of_one_request_have_the_same_columns() -> None:
    """A column that only some images have is a fault where it is missing."""
    first = GRID["images"][0]
    second = changed({**first, "id": 2}, ("predictions", "objectness"), [0, 0, 0, 0])
    request = changed(GRID, ("images",), [first, second])

    assert faults(request) == {"/images/0/predictions/objectness": "inconsistent_columns"}


def test_lists_and_columns_do_not_mix() -> None:
    """One form of predictions a request."""
    plain = {"id": 2, "predictions": [{"box": [0, 0, 1, 1], "label": "x", "score": 1}]}
    request = changed(GRID, ("images",), [GRID["images"][0], plain])

    assert faults(request) == {"/images/1/predictions": "mixed_predictions"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"{",
        b"{'images': []}",
        b'{"images": [],}',
        b'{"images": [1e400]}',
        b'{"images": [%s]}' % (b"9" * 400),
        b'{"a": NaN, "images": [%s]}' % (b"9" * 5000),
        b"[" * 100_000,
        b'{"a": NaN, "b": ' + b"[" * 100_000,
        b'{"id": "\\ud800"}',
        b'{"id": "\\ud800", "a": NaN}',
        b'{"id": "\xff"}',
        b'{"id": "\xff", "a": NaN}',
        b"NaN NaN",
        b"\x00\x01",
    ],
    ids=range(16),
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    """Broken, too deep, out of range or not Unicode: one problem, which is no crash."""
    with pytest.raises(InvalidJson, match="not JSON") as caught:
        parse(body)

    assert [fault.code for fault in caught.value.faults] == ["invalid_json"]


def test_the_place_of_a_syntax_error_is_told() -> None:
    """Line and column lead to it."""
    with pytest.raises(InvalidJson, match=r"line 2, column 12"):
        parse(b'{"images":\n [], "coco"; 1}')


def test_huge_whole_numbers_beside_nan_are_faults() -> None:
    """What the standard parser takes and float64 does not hold is pointed at."""
    digits = b"9" * 400
    body = b'{"images": [{"ground_truth": [{"label": 0, "box": [NaN, 1, 2, %s]}]}], "assigner": {"topk": %s}}'

    with pytest.raises(InvalidRequest) as caught:
        parse(body % (digits, digits))

    assert [f.pointer for f in caught.value.faults] == ["/assigner/topk", "/images/0/ground_truth/0/box"]


def test_a_body_of_too_many_lists_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty lists take 20 times their length in memory."""
    monkeypatch.setattr(decoding, "SMALL_BODY", 10)
    monkeypatch.setattr(decoding, "MAX_CONTAINERS", 5)

    with pytest.raises(TooLarge):
        parse(b'{"images": [[], [], [], []]}')


def test_too_many_images_scores_and_classes_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would take far more memory than its text is bounded."""
    monkeypatch.setattr(images, "MAX_IMAGES", 2)
    monkeypatch.setattr(images, "MAX_SCORES", 5)
    monkeypatch.setattr(labels, "MAX_CLASSES", 2)

    assert faults({"images": [{}, {}, {}]}) == {"/images": "too_many"}
    assert faults(EXAMPLE) == {"": "too_many"}
    assert faults({"images": [], "classes": ["a", "b", "c"]}) == {"/classes": "too_many"}
    beyond = {"images": [{"ground_truth": [{"label": 2, "box": [0, 0, 1, 1]}]}]}
    assert faults(beyond) == {"/images/0/ground_truth/0/label": "label_out_of_range"}


def test_messages_never_repeat_a_long_value() -> None:
    """A caller's megabyte does not come back."""
    long = "x" * 1_000_000
    request = changed(changed(EXAMPLE, (long,), 1), ("box_format",), long)

    told = json.dumps([[f.pointer, f.detail] for f in refusal(request).faults])

    assert len(told) < 2000
