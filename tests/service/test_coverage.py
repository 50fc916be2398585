"""Coverage of ground truth: the real data set's figures, what is listed, and what is refused."""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posneg.service.coverage import coverage
from posneg.service.errors import InvalidRequest, ServiceError
from posneg.service.schemas import coverage as schema
from posneg.service.schemas.decoding import decode
from tests.service.schemas.requests import COCO, changed, without

Json = dict[str, Any]
DATASET = COCO["coco"]["ground_truth"]


def one(box: list[float], size: list[float], **request: Any) -> Json:
    """What one size of the input says of one box."""
    image = {"size": size, "ground_truth": [{"label": "x", "box": box}]}
    [found] = coverage({"images": [image], **request})["input_sizes"]
    return found


def refused(request: object) -> dict[str, str]:
    """Pointer → code of every fault."""
    with pytest.raises(InvalidRequest) as caught:
        coverage(request)
    return {fault.pointer: fault.code for fault in caught.value.faults}


@pytest.mark.parametrize("bare", [True, False], ids=["dataset", "pair"])
def test_real_boxes_are_out_of_reach_as_measured(bare: bool) -> None:
    """COCO's 100 images: 47, 22, 8 and 0 of 830 boxes; every one missed is small and named."""
    root = os.environ.get("POSNEG_TEST_DATA")
    if root is None:
        pytest.skip("POSNEG_TEST_DATA is not set: the real COCO files are not at hand")
    dataset = json.loads((Path(root) / "fixtures" / "fce_instances_val2014_100.json").read_text())

    answer = coverage(
        {
            "coco": dataset if bare else {"ground_truth": dataset},
            "input_sizes": [320, 416, 640, 1280],
            "strides": [8, 16, 32],
            "letterbox": "center",
        }
    )

    found = answer["input_sizes"]
    assert [size["input_size"] for size in found] == [320, 416, 640, 1280]
    assert [size["ground_truth"] for size in found] == [830] * 4
    assert [size["unreachable"] for size in found] == [47, 22, 8, 0]
    for size in found:
        assert len(size["boxes"]) == size["unreachable"]
        assert sum(part["ground_truth"] for part in size["by_size"].values()) == 830
        assert sum(part["unreachable"] for part in size["by_size"].values()) == size["unreachable"]
        assert size["by_size"]["large"]["unreachable"] == 0
        assert {box["smallest_stride_that_reaches"] for box in size["boxes"]} <= {4.0, 2.0}
    crowds = sum(annotation["iscrowd"] for annotation in dataset["annotations"])
    assert answer["counts"]["ground_truth_ignored"] == crowds


def test_the_example_is_answered_as_documented() -> None:
    """In the contract and in fact."""
    assert coverage(schema.EXAMPLE) == schema.ANSWER_EXAMPLE


def test_a_border_that_touches_a_point_does_not_hold_it() -> None:
    """Strictly inside: the point (4, 4) of stride 8 is the corner of one box, and inside a wider one."""
    small = {"input_sizes": [16], "strides": [8]}

    assert one([4, 4, 12, 12], [16, 16], **small)["unreachable"] == 1
    assert one([3.999, 3.999, 12, 12], [16, 16], **small)["candidates_per_box"]["max"] == 1


def test_sizes_may_be_rectangles() -> None:
    """[height, width], echoed as sent."""
    found = one([0, 0, 8, 8], [32, 64], input_sizes=[[32, 64]], strides=[8])

    assert found["input_size"] == [32, 64]
    assert found["candidates_per_box"]["max"] == 1


@pytest.mark.parametrize(
    ("box_format", "box"), [("xyxy", [2, 2, 22, 12]), ("xywh", [2, 2, 20, 10]), ("cxcywh", [12, 7, 20, 10])]
)
def test_every_box_format_is_the_same_box(box_format: str, box: list[float]) -> None:
    """Points of stride 4 at 2, 6, 10 … 18 across and 6, 10 down lie inside."""
    found = one(box, [32, 32], box_format=box_format, input_sizes=[32], strides=[4])

    assert found["candidates_per_box"]["min"] == 4 * 2


def test_ignored_boxes_are_left_out_and_predictions_not_looked_at() -> None:
    """Indices still count them, and ids are used where there are some."""
    truth = [
        {"label": 0, "box": [0, 0, 1, 1], "ignore": True},
        {"label": 0, "box": [0, 0, 1, 1]},
        {"label": 0, "box": [0, 0, 1, 1], "id": "mine"},
    ]
    images = [
        {"id": "empty"},
        {"id": "a", "size": [64, 64], "ground_truth": truth, "predictions": "not read"},
    ]

    answer = coverage({"images": images, "input_sizes": [64]})

    [found] = answer["input_sizes"]
    references = [
        (box["image"], box["image_index"], box["ground_truth"], box["ground_truth_index"])
        for box in found["boxes"]
    ]
    assert references == [("a", 1, 1, 1), ("a", 1, "mine", 2)]
    assert answer["counts"] == {"images": 2, "ground_truth": 3, "ground_truth_ignored": 1}


def test_a_box_that_is_none_is_told_apart() -> None:
    """Without area, or not finite: no stride would reach it."""
    assert one([5, 5, 5, 9], [64, 64], input_sizes=[64])["boxes"][0]["reason"] == "DEGENERATE"
    assert one([9, 9, 5, 5], [64, 64], input_sizes=[64])["boxes"][0]["reason"] == "DEGENERATE"
    found = one([5, float("nan"), 6, 9], [64, 64], input_sizes=[64])["boxes"][0]
    assert (found["reason"], found["smallest_stride_that_reaches"]) == ("NONFINITE", None)


def test_no_boxes_have_no_quantiles() -> None:
    """Nothing to reach, and nothing missed."""
    [found] = coverage({"images": [], "input_sizes": [320]})["input_sizes"]

    assert (found["ground_truth"], found["unreachable"], found["boxes"]) == (0, 0, [])
    assert set(found["candidates_per_box"].values()) == {None}


def test_more_boxes_than_are_listed_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures are of all of them."""
    monkeypatch.setattr("posneg.service.coverage.MAX_LISTED", 2)
    truth = [{"label": 0, "box": [0, 0, 1, 1]}] * 5

    [found] = coverage({"images": [{"size": [64, 64], "ground_truth": truth}], "input_sizes": [64]})[
        "input_sizes"
    ]

    assert (found["unreachable"], len(found["boxes"]), found["boxes_left_out"]) == (5, 2, 3)


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        ([], {"": "wrong_type"}),
        ({}, {"/images": "missing_field"}),
        ({"images": [], "coco": DATASET}, {"/images": "conflicting_fields"}),
        ({"images": [], "preset": "yolov8"}, {"/preset": "unknown_field"}),
        ({"images": [], "strides": []}, {"/strides": "wrong_length"}),
        (
            {"images": [], "strides": [8, 0, "x", float("inf")]},
            {"/strides/1": "out_of_range", "/strides/2": "wrong_type", "/strides/3": "out_of_range"},
        ),
        ({"images": [], "input_sizes": 320}, {"/input_sizes": "wrong_type"}),
        (
            {"images": [], "input_sizes": [0, True, [320], 1e9]},
            {
                "/input_sizes/0": "out_of_range",
                "/input_sizes/1": "wrong_type",
                "/input_sizes/2": "wrong_type",
                "/input_sizes/3": "out_of_range",
            },
        ),
        (
            {"images": [], "letterbox": "corner", "box_format": []},
            {"/letterbox": "unknown_value", "/box_format": "unknown_value"},
        ),
        (
            {"images": [{"ground_truth": [{"label": 0, "box": [0, 0, 9, 9]}]}]},
            {"/images/0/size": "missing_field"},
        ),
        (
            {"images": [{"size": [9, 9], "ground_truth": [{"label": 0, "box": [0, 0, 9]}]}]},
            {"/images/0/ground_truth/0/box": "wrong_length"},
        ),
        ({"coco": 3}, {"/coco": "wrong_type"}),
        ({"coco": without(DATASET, ("images", 1, "width"))}, {"/coco/images/1": "missing_field"}),
        (
            {"coco": changed(DATASET, ("annotations", 0, "bbox"), None)},
            {"/coco/annotations/0/bbox": "missing_field"},
        ),
        (
            {"coco": {"ground_truth": changed(DATASET, ("annotations", 0, "image_id"), 5)}},
            {"/coco/ground_truth/annotations/0/image_id": "unknown_image"},
        ),
        ({"coco": DATASET, "box_format": "xyxy"}, {"/box_format": "conflicting_fields"}),
    ],
)
def test_every_fault_has_its_pointer(request_: object, wanted: dict[str, str]) -> None:
    """All of them at once, below what was sent."""
    assert refused(request_) == wanted


def test_results_of_a_pair_are_not_looked_at() -> None:
    """A COCO pair goes in as for a loss."""
    pair = changed(COCO, ("coco", "predictions"), "not read")

    assert coverage({**pair, "input_sizes": [64]}) == coverage({"coco": DATASET, "input_sizes": [64]})


def test_an_id_that_is_spelled_otherwise_is_told_of() -> None:
    """A notice, where it stands in what was sent."""
    [warning] = coverage({"coco": changed(DATASET, ("annotations", 0, "image_id"), "0")})["warnings"]

    assert (warning["code"], warning["pointer"]) == ("ID_TYPE_MISMATCH", "/coco/annotations/0/image_id")


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.sampled_from([2**63, 10**400, 1e308, -1e308, 5e-324, "xywh", "center"])
    | st.floats()
    | st.text(max_size=3)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "box"]), inner, max_size=2)
    ),
    max_leaves=10,
)
VALID: dict[str, Json] = {
    "images": {**schema.EXAMPLE, "classes": ["car", "sign"], "box_format": "xyxy"},
    "coco": {"coco": DATASET, "input_sizes": [320, [64, 96]]},
    "pair": {**COCO, "strides": [8, 12.5]},
}


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every element below the root."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, below in steps:
        yield (*path, step)
        yield from paths(below, (*path, step))


PLACES = [(name, path) for name, request in VALID.items() for path in paths(request)]


def attempt(request: object) -> Json | ServiceError:
    """Ask as a careless client would."""
    try:
        return coverage(decode(json.dumps(request).encode()))
    except ServiceError as error:
        return error


@settings(max_examples=500)
@given(place=st.sampled_from(PLACES), value=values, cut=st.booleans())
def test_a_request_changed_anywhere_is_answered_or_refused(
    place: tuple[str, tuple[Any, ...]], value: object, cut: bool
) -> None:
    """One element replaced or taken out: strict JSON, or a problem that names what is at fault."""
    name, path = place
    request = copy.deepcopy(VALID[name])
    parent: Any = request
    for step in path[:-1]:
        parent = parent[step]
    if cut:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value

    outcome = attempt(request)
    if isinstance(outcome, ServiceError):
        assert outcome.status == 422
        assert outcome.faults
    else:
        json.dumps(outcome, allow_nan=False)
