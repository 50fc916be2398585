"""What a single loss cannot be evaluated on: each bad element has its pointer."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posneg.models.losses import losses
from posneg.service.engine.loss_function import evaluate
from posneg.service.errors import ServiceError, problem
from posneg.service.schemas.decoding import decode
from tests.service.engine.loss_cases import (
    BOXES,
    LABELS,
    LOGITS,
    OWN,
    SOFT,
    TRUTH,
    VALID,
    refused,
    valid,
)

Json = dict[str, Any]
CLASSES = {"logits": LOGITS, "targets": SOFT}


@pytest.mark.parametrize(
    ("name", "request_", "wanted"),
    [
        ("focal", {}, {"/inputs": "missing_field"}),
        ("focal", {"inputs": []}, {"/inputs": "wrong_type"}),
        ("focal", {"inputs": {}}, {"/inputs/logits": "missing_field", "/inputs/targets": "missing_field"}),
        ("l1", {"inputs": {"pred": [1]}}, {"/inputs/target": "missing_field"}),
        ("focal", {"inputs": {**CLASSES, "logit": 1}}, {"/inputs/logit": "unknown_field"}),
        ("focal", {"inputs": {**CLASSES, "pred_boxes": BOXES}}, {"/inputs/pred_boxes": "unknown_field"}),
        ("focal", {"inputs": CLASSES, "gradient": True}, {"/gradient": "unknown_field"}),
        (
            "focal",
            {"inputs": {**CLASSES, "pred_logits": LOGITS}},
            {"/inputs/pred_logits": "conflicting_fields"},
        ),
        ("focal", {"inputs": {**CLASSES, "targets": SOFT[:2]}}, {"/inputs/targets": "wrong_shape"}),
        ("focal", {"inputs": {**CLASSES, "targets": [0, 1, 0]}}, {"/inputs/targets": "wrong_shape"}),
        (
            "focal",
            {"inputs": {"logits": [[1, "a"], [None, 1]], "targets": [[1, 0], [2, -1]]}},
            {
                "/inputs/logits/0/1": "wrong_type",
                "/inputs/logits/1/0": "wrong_type",
                "/inputs/targets/1/0": "out_of_range",
                "/inputs/targets/1/1": "out_of_range",
            },
        ),
        (
            "focal",
            {"inputs": {"logits": [[1, 2], [3]], "labels": [0, 0]}},
            {"/inputs/logits/1": "wrong_length"},
        ),
        ("focal", {"inputs": {"logits": [[], []], "labels": [0, 0]}}, {"/inputs/logits": "wrong_length"}),
        (
            "focal",
            {"inputs": {"logits": 3, "labels": "x"}},
            {"/inputs/logits": "wrong_type", "/inputs/labels": "wrong_type"},
        ),
        (
            "focal",
            {"inputs": {"logits": LOGITS, "labels": [4, -1, 0.5]}},
            {
                "/inputs/labels/2": "wrong_type",
                "/inputs/labels/0": "label_out_of_range",
                "/inputs/labels/1": "label_out_of_range",
            },
        ),
        ("focal", {"inputs": {"logits": LOGITS, "labels": [0, 1]}}, {"/inputs/labels": "wrong_shape"}),
        (
            "focal",
            {"inputs": {"logits": LOGITS, "label": OWN, "labels": [2, 1, 3]}},
            {"/inputs/labels/1": "conflicting_fields"},
        ),
        (
            "focal",
            {"inputs": {"logits": LOGITS, "label": SOFT}},
            {"/inputs/label/0/2": "out_of_range", "/inputs/label/1/0": "out_of_range"},
        ),
        (
            "focal",
            {"inputs": {**CLASSES, "quality": [1, 1, 1]}},
            {"/inputs/quality": "conflicting_fields", "/inputs/labels": "missing_field"},
        ),
        (
            "focal",
            {"inputs": {"logits": LOGITS, "labels": LABELS, "quality": [1, 2, 1]}},
            {"/inputs/quality/1": "out_of_range"},
        ),
        (
            "focal",
            {"inputs": {"scores": LOGITS, "labels": LABELS}},
            {
                "/inputs/scores/0/1": "out_of_range",
                "/inputs/scores/0/2": "out_of_range",
                "/inputs/scores/1/0": "out_of_range",
                "/inputs/scores/1/2": "out_of_range",
            },
        ),
        (
            "cross_entropy",
            {"inputs": {"logits": LOGITS, "labels": LABELS}},
            {"/inputs/labels/2": "label_out_of_range"},
        ),
        (
            "giou",
            {"inputs": {"pred_boxes": [[1, 2, 3]], "target_boxes": [TRUTH[0]]}},
            {"/inputs/pred_boxes/0": "wrong_length"},
        ),
        (
            "giou",
            {"inputs": {"pred_boxes": [1, 2, 3, 4], "target_boxes": [TRUTH[0]]}},
            {f"/inputs/pred_boxes/{n}": "wrong_type" for n in range(4)},
        ),
        ("dfl", {"inputs": {"logits": [[1], [2]], "target": [0, 0]}}, {"/inputs/logits": "wrong_length"}),
        (
            "dfl",
            {"inputs": {"logits": [[1, 2], [2, 1]], "target": [[0, 0, 0, 0]]}},
            {"/inputs/target": "wrong_shape"},
        ),
        (
            "objectness",
            {"inputs": {"logits": [1, 2], "targets": [0, 1.5]}},
            {"/inputs/targets/1": "out_of_range"},
        ),
        (
            "focal",
            {"inputs": CLASSES, "parameters": {"alpha": 2, "beta": 1, "a/b": 0}},
            {
                "/parameters/alpha": "invalid_option",
                "/parameters/beta": "invalid_option",
                "/parameters/a~1b": "invalid_option",
            },
        ),
        ("focal", {"inputs": CLASSES, "parameters": 3}, {"/parameters": "wrong_type"}),
        (
            "focal",
            {"inputs": CLASSES, "parameters": {"gamma": 10**400}},
            {"/parameters/gamma": "out_of_range"},
        ),
        (
            "focal",
            {"inputs": CLASSES, "parameters": {"gamma": float("nan")}},
            {"/parameters/gamma": "invalid_option"},
        ),
        (
            "focal",
            {"inputs": CLASSES, "parameters": {"class_weights": [1, 1]}},
            {"/parameters/class_weights": "wrong_length"},
        ),
        (
            "focal",
            {"inputs": CLASSES, "parameters": {"class_weights": [1, -1, float("inf")]}},
            {
                "/parameters/class_weights/1": "out_of_range",
                "/parameters/class_weights/2": "out_of_range",
            },
        ),
        (
            "giou",
            {"inputs": VALID["overlap"], "parameters": {"class_weights": [1]}},
            {"/parameters/class_weights": "invalid_option"},
        ),
        (
            "cross_entropy",
            {"inputs": VALID["softmax"], "parameters": {"class_weights": [1, 1, 1], "background_weight": 2}},
            {"/parameters/background_weight": "conflicting_fields"},
        ),
        (
            "focal",
            {"inputs": CLASSES, "gradients": 1, "dtype": "int8"},
            {"/gradients": "wrong_type", "/dtype": "unknown_value"},
        ),
        (
            "focal",
            {"inputs": {"logits": "x"}, "parameters": {"alpha": "y"}, "dtype": []},
            {
                "/inputs/logits": "wrong_type",
                "/inputs/targets": "missing_field",
                "/parameters/alpha": "invalid_option",
                "/dtype": "unknown_value",
            },
        ),
    ],
)
def test_every_fault_has_its_pointer(name: str, request_: Json, wanted: dict[str, str]) -> None:
    """All of them at once, inputs and parameters alike."""
    assert refused(name, **request_) == wanted


def test_more_faults_than_are_named_are_counted() -> None:
    """A hundred in words, and how many there are."""
    labels = [9] * 500
    with pytest.raises(ServiceError) as caught:
        evaluate("focal", {"inputs": {"logits": [[0.0]] * 500, "labels": labels}})

    assert (len(caught.value.faults), caught.value.faults_total) == (100, 500)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.sampled_from([2**63, 2**64, 10**400, -(10**30), 1e308, -1e308, 5e-324])
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["mmdet", "ultralytics", "float16", "bfloat16", "log", "a/b~c"])
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=5), max_leaves=12)
NAMES = [
    *(
        "logits",
        "scores",
        "targets",
        "label",
        "labels",
        "quality",
        "pred",
        "target",
        "pred_boxes",
        "target_boxes",
    ),
    *("dist_logits", "target_ltrb", "flavor", "alpha", "gamma", "beta", "eps", "class_weights", "neg_gamma"),
]


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every element below the root."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, below in steps:
        yield (*path, step)
        yield from paths(below, (*path, step))


def attempt(name: str, request: object) -> Json | ServiceError:
    """Ask as a careless client would."""
    try:
        return evaluate(name, decode(json.dumps(request).encode()))
    except ServiceError as error:
        return error


def answered(name: str, request: object) -> None:
    """An answer is strict JSON, a refusal names what is at fault."""
    outcome = attempt(name, request)
    if isinstance(outcome, ServiceError):
        orjson.dumps(problem(outcome, "id"))
        assert outcome.status == 422
        assert outcome.faults
    else:
        json.dumps(outcome, allow_nan=False)


@pytest.mark.parametrize("name", list(losses))
@settings(max_examples=60)
@given(
    data=st.data(),
    value=values,
    key=st.sampled_from(NAMES),
    act=st.sampled_from(["put", "cut", "twice", "add"]),
)
def test_a_request_changed_anywhere_is_answered_or_refused(
    name: str, data: st.DataObject, value: object, key: str, act: str
) -> None:
    """One element replaced, taken out or repeated, or one added to inputs or parameters."""
    dtype = data.draw(st.sampled_from(["float64", "float32", "float16", "bfloat16"]))
    request: Any = copy.deepcopy({"inputs": valid(name), "parameters": {}, "gradients": True, "dtype": dtype})
    path = data.draw(st.sampled_from(list(paths(request))))
    parent = request
    for step in path[:-1]:
        parent = parent[step]
    if act == "cut":
        del parent[path[-1]]
    elif act == "twice" and isinstance(parent, list):
        parent.append(parent[path[-1]])
    elif act == "add":
        request[data.draw(st.sampled_from(["inputs", "parameters"]))][key] = value
    else:
        parent[path[-1]] = value

    answered(name, request)


@given(
    name=st.sampled_from(list(losses)), request_=values, parts=st.dictionaries(st.sampled_from(NAMES), values)
)
def test_anything_is_answered_or_refused(name: str, request_: object, parts: Json) -> None:
    """Any value as the whole, and any values as inputs and parameters."""
    answered(name, request_)
    answered(name, {"inputs": parts, "parameters": parts})
