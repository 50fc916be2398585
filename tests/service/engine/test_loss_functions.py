"""One loss alone: every golden vector as it is, laws of the answer, and what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posneg.models.losses import losses
from posneg.service.engine.loss_function import evaluate
from tests.models import goldens
from tests.service.engine.loss_cases import BINS, LABELS, LOGITS, OWN, SIDES, SOFT, VALID, refused, valid
from tests.service.engine.loss_goldens import NOT_IN_THE_CONTRACT, asked, expected_gradient

Json = dict[str, Any]


GOLDENS = [
    *goldens.names("loss_"),
    *(pytest.param(name, marks=pytest.mark.skip(reason=why)) for name, why in NOT_IN_THE_CONTRACT.items()),
]


@pytest.mark.parametrize("name", GOLDENS)
def test_a_golden_vector_is_answered_as_its_upstream_did(name: str) -> None:
    """Values in the shape of the file, their sum and mean, and the gradient of each prediction sent."""
    golden = goldens.load(name)
    expected = golden["expected"]

    loss, request = asked(name, golden)
    answer = evaluate(loss, request)

    total = expected.get("loss_sum_float64", expected["loss_sum"])
    assert answer["sum"] == pytest.approx(total, rel=1e-5)
    if "per_element" in expected:
        assert np.shape(answer["per_element"]) == np.shape(expected["per_element"])
        np.testing.assert_allclose(answer["per_element"], expected["per_element"], rtol=1e-5, atol=1e-6)
    if "loss_mean" in expected:
        assert answer["mean"] == pytest.approx(expected["loss_mean"], rel=1e-5)
    assert answer["nonfinite"] == []
    for sent, gradient in answer["gradients"].items():
        wanted = expected_gradient(golden, sent)
        rows = expected.get("grad_valid_rows", range(len(gradient)))
        for row in rows:
            np.testing.assert_allclose(gradient[row], wanted[row], rtol=1e-4, atol=1e-5)


def test_every_golden_vector_is_here() -> None:
    """None of those handed over is left out unless it is named."""
    root = os.environ.get("POSNEG_TEST_DATA")
    if root is None:
        pytest.skip("POSNEG_TEST_DATA is not set: the whole set of golden vectors is not at hand")
    handed = {file.stem for file in (Path(root) / "goldens").glob("loss_*.json")}
    left_out = handed - set(goldens.names("loss_"))
    assert all(name.startswith(tuple(NOT_IN_THE_CONTRACT)) for name in left_out)


@pytest.mark.parametrize("name", list(losses))
def test_sum_and_mean_are_over_the_values_and_rows_stand_for_themselves(name: str) -> None:
    """A row's value and gradient are the same when it is alone; unreduced values add up to the sum."""
    inputs = valid(name)
    whole = evaluate(name, {"inputs": inputs, "gradients": True})

    values = np.array(whole["per_element"])
    assert whole["sum"] == pytest.approx(values.sum(), rel=1e-12)
    assert whole["mean"] == pytest.approx(values.mean(), rel=1e-12)
    [(prediction, gradient)] = whole["gradients"].items()
    assert np.shape(gradient) == np.shape(inputs[prediction])
    for row in range(3):
        alone = evaluate(
            name, {"inputs": {k: v[row : row + 1] for k, v in inputs.items()}, "gradients": True}
        )
        np.testing.assert_allclose(alone["per_element"], values[row : row + 1], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(alone["gradients"][prediction], gradient[row : row + 1], rtol=1e-12)


@pytest.mark.parametrize("name", list(losses))
@given(
    value=st.sampled_from(["NaN", "Infinity", "-Infinity"]), which=st.integers(0, 1), row=st.integers(0, 2)
)
def test_what_is_not_finite_is_null_and_told_of(name: str, value: str, which: int, row: int) -> None:
    """Wherever it stands, its values, the sum and the mean are null; other rows are as they were."""
    inputs = valid(name)
    key = list(inputs)[which]
    if key == "labels":
        return
    broken = json.loads(json.dumps(inputs[key]))
    place = broken
    steps: list[int] = [row]
    while isinstance(place[steps[-1]], list):
        place = place[steps[-1]]
        steps.append(0)
    place[steps[-1]] = float(value)

    before = evaluate(name, {"inputs": inputs, "gradients": True})
    after = evaluate(name, {"inputs": {**inputs, key: broken}, "gradients": True})

    assert after["sum"] is None
    assert after["mean"] is None
    assert {"/sum", "/mean"} < set(after["nonfinite"])
    assert any(pointer.startswith(f"/per_element/{row}") for pointer in after["nonfinite"])
    prediction = next(iter(inputs))
    assert any(pointer.startswith(f"/gradients/{prediction}/{row}") for pointer in after["nonfinite"])
    for other in {0, 1, 2} - {row}:
        assert after["per_element"][other] == before["per_element"][other]
        assert after["gradients"][prediction][other] == before["gradients"][prediction][other]
    json.dumps(after, allow_nan=False)


@pytest.mark.parametrize("name", list(losses))
@pytest.mark.parametrize(("dtype", "digits"), [("float32", 1e-5), ("float16", 2e-2), ("bfloat16", 5e-2)])
def test_other_dtypes_are_near(name: str, dtype: str, digits: float) -> None:
    """The same numbers, to the digits that the dtype has."""
    exact, coarse = (evaluate(name, {"inputs": valid(name), "dtype": d}) for d in ("float64", dtype))

    np.testing.assert_allclose(coarse["per_element"], exact["per_element"], rtol=digits, atol=digits)
    assert coarse["resolved"]["dtype"] == dtype


@pytest.mark.parametrize("name", list(losses))
def test_nothing_costs_nothing(name: str) -> None:
    """No rows: no values, a sum and a mean of 0."""
    empty = evaluate(name, {"inputs": {key: [] for key in valid(name)}, "gradients": True})

    assert (empty["sum"], empty["mean"], empty["nonfinite"]) == (0, 0, [])
    assert np.sum(empty["per_element"]) == 0
    assert list(empty["gradients"].values()) == [[]]


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("focal", {"pred_logits": LOGITS, "labels": LABELS}),
        ("focal", {"logits": LOGITS, "label": OWN}),
        ("focal", {"logits": LOGITS, "targets": OWN, "labels": LABELS}),
        ("focal", {"logits": LOGITS, "target_onehot": OWN, "labels": LABELS}),
    ],
)
def test_classes_can_be_said_in_several_ways(name: str, inputs: Json) -> None:
    """Class numbers, marks, or targets of 0 and 1 are the same."""
    as_targets = evaluate(name, {"inputs": {"logits": LOGITS, "targets": OWN}})

    assert evaluate(name, {"inputs": inputs})["per_element"] == as_targets["per_element"]


def test_quality_is_the_target_of_the_own_class() -> None:
    """With class numbers or marks, as with targets spelled out."""
    quality = [0.75, 0.5, 0.9]
    spelled = evaluate("quality_focal", {"inputs": {"logits": LOGITS, "targets": SOFT}})

    for own in ({"labels": LABELS}, {"label": OWN}):
        answer = evaluate("quality_focal", {"inputs": {"logits": LOGITS, "quality": quality, **own}})
        assert answer["per_element"] == spelled["per_element"]


def test_a_positive_of_quality_0_pays_nothing_where_the_label_decides() -> None:
    """Soft targets beside marks: varifocal tells a positive of target 0 from a negative."""
    inputs = {"logits": [[2.0]], "targets": [[0.0]]}
    rtdetr = {"flavor": "rtdetr"}

    negative = evaluate("varifocal", {"inputs": inputs, "parameters": rtdetr})
    positive = evaluate("varifocal", {"inputs": {**inputs, "label": [[1]]}, "parameters": rtdetr})

    assert negative["sum"] > 1
    assert positive["sum"] == 0


def test_a_vector_of_logits_is_one_class() -> None:
    """Values and gradients come back as a vector."""
    flat = evaluate("focal", {"inputs": {"logits": [0.5, -1.0], "targets": [1.0, 0.0]}, "gradients": True})
    column = evaluate(
        "focal", {"inputs": {"logits": [[0.5], [-1.0]], "targets": [[1.0], [0.0]]}, "gradients": True}
    )

    assert flat["per_element"] == [value for [value] in column["per_element"]]
    assert flat["gradients"]["logits"] == [value for [value] in column["gradients"]["logits"]]


def test_logits_and_scores_that_agree_each_have_their_gradient() -> None:
    """As where each is sent alone."""
    scores = torch.tensor(LOGITS, dtype=torch.float64).sigmoid().tolist()

    both = evaluate(
        "focal", {"inputs": {"logits": LOGITS, "probs": scores, "targets": SOFT}, "gradients": True}
    )

    for name, values in (("logits", LOGITS), ("probs", scores)):
        alone = evaluate("focal", {"inputs": {name: values, "targets": SOFT}, "gradients": True})
        np.testing.assert_allclose(both["gradients"][name], alone["gradients"][name], rtol=1e-9)
    wrong = [[0.5, 0.5, 0.5], *scores[1:]]
    assert refused("focal", inputs={"logits": LOGITS, "probs": wrong, "targets": SOFT}) == {
        f"/inputs/probs/0/{column}": "conflicting_fields" for column in range(3)
    }


def test_sides_are_averaged_where_they_make_a_box() -> None:
    """Four rows a box however they are nested; rows with a distance each stand alone, in every flavor."""
    flat_target = [side for box in SIDES for side in box]
    nested = VALID["distribution"]["logits"]

    averaged = evaluate("dfl", {"inputs": {"logits": nested, "target": SIDES}})
    rows = evaluate("dfl", {"inputs": {"dist_logits": BINS, "target_ltrb": SIDES}})
    alone = evaluate("dfl", {"inputs": {"dist_logits": BINS[:7], "target": flat_target[:7]}})
    summed = evaluate(
        "dfl", {"inputs": {"logits": nested, "target": SIDES}, "parameters": {"flavor": "mmdet"}}
    )

    assert rows["per_element"] == averaged["per_element"]
    assert np.shape(summed["per_element"]) == (3, 4)
    np.testing.assert_allclose(np.mean(summed["per_element"], 1)[:, None], averaged["per_element"], rtol=1e-2)
    np.testing.assert_allclose(alone["per_element"], np.ravel(summed["per_element"])[:7], rtol=1e-2)


def test_numbers_of_any_width_are_compared_one_by_one() -> None:
    """Three, five, or in a row."""
    for width in (1, 3, 5):
        inputs = {"pred": [[2.0] * width] * 2, "target": [[0.5] * width] * 2}
        answer = evaluate("l1", {"inputs": inputs, "gradients": True})
        assert answer["per_element"] == [[1.5] * width] * 2
        assert answer["gradients"]["pred"] == [[1.0] * width] * 2
    assert evaluate("mse", {"inputs": {"pred": [1, 2], "target": [3, 2]}})["per_element"] == [4, 0]


def test_class_weights_multiply() -> None:
    """Columns, or the rows of a softmax by their class; its background may have its own parameter."""
    plain = evaluate("binary_cross_entropy", {"inputs": VALID["classification"]})
    weighed = evaluate(
        "binary_cross_entropy",
        {"inputs": VALID["classification"], "parameters": {"class_weights": [1, 2, 0]}},
    )
    np.testing.assert_allclose(weighed["per_element"], np.array(plain["per_element"]) * [1, 2, 0])
    assert weighed["resolved"]["parameters"] == {"class_weights": [1, 2, 0]}

    rows = {"logits": LOGITS, "labels": [2, 0, 1]}
    plain = evaluate("cross_entropy", {"inputs": rows})
    for parameters, weights in (
        ({"class_weights": [2, 3, 0.5]}, [0.5, 2, 3]),
        ({"class_weights": [2, 3]}, [1, 2, 3]),
        ({"class_weights": [2, 3], "background_weight": 0.1}, [0.1, 2, 3]),
        ({"background_weight": 0.1}, [0.1, 1, 1]),
    ):
        weighed = evaluate("cross_entropy", {"inputs": rows, "parameters": parameters})
        np.testing.assert_allclose(weighed["per_element"], np.array(plain["per_element"]) * weights)


def test_parameters_are_shown_in_full() -> None:
    """What was chosen, defaults for the rest (null stands for them), and the version of the rule."""
    answer = evaluate("focal", {"inputs": VALID["classification"], "parameters": {"gamma": 1, "alpha": None}})

    assert answer["resolved"] == {
        "name": "focal",
        "parameters": {"flavor": "torchvision", "alpha": 0.25, "gamma": 1.0, "class_weights": None},
        "dtype": "float64",
        "semantics": {"focal": 1},
    }
    assert "gradients" not in answer


def test_a_constant_may_be_stated_but_not_changed() -> None:
    """What upstreams can be told and every flavor here has fixed."""
    boxes = VALID["overlap"]
    plain = evaluate("giou", {"inputs": boxes})
    stated = evaluate("giou", {"inputs": boxes, "parameters": {"eps": 1e-7}})

    assert stated == plain
    assert refused("giou", inputs=boxes, parameters={"eps": 0.5}) == {"/parameters/eps": "invalid_option"}
    assert refused("dfl", inputs=VALID["distribution"], parameters={"bins": 5}) == {
        "/parameters/bins": "invalid_option"
    }
    assert refused("l1", inputs=VALID["coordinates"], parameters={"eps": 0}) == {
        "/parameters/eps": "invalid_option"
    }
