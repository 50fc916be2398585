"""What counts as a move, row by row; the laws of a comparison."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posneg.service.checks.compare import compare
from posneg.service.checks.config import Tolerance, Tolerances
from posneg.service.checks.report import flip_reason
from tests.service.checks.runs import INPUTS, drop, nameless, prediction, put, run

LOST = {"state": "negative", "ground_truth": None, "reason": "RANK_OUT_OF_TOPK"}
WON = {"state": "positive", "ground_truth": "GT2", "ground_truth_index": 1, "reason": "TOP_K", "target": 1.0}
BAND = {"state": "ignored", "ground_truth": None, "reason": "IN_IGNORE_BAND"}
LOOSE = {"default": {"rtol": 0.1}}
NEWCOMER = {**WON, "index": 3, "id": "D", "margin": 0.3}
TERM = {"raw": 1.0, "weight": 1.0, "normalizer": {"name": "none", "used": 1.0}}
TERM |= {"value": 1.0, "positive": 1.0, "negative": 0.0}
GONE = TERM | {"raw": None, "value": 0.0, "positive": 0.0, "available": False}


def add_newcomer(document: Any) -> None:
    document["images"][0]["predictions"].append(dict(NEWCOMER))


def reverse(document: Any) -> None:
    """Send the predictions in the other order: other indices, same ids."""
    rows = document["images"][0]["predictions"]
    rows.reverse()
    for index, row in enumerate(rows):
        row["index"] = index


SAME, WITHIN, MOVED = (False, False), (False, True), (True, True)
TABLE = {
    # name: (edits of the baseline, edits of now, tolerance, (moved, differs))
    "nothing changed": ([], [], {}, SAME),
    "value up": ([], [put("terms.box.value", 54.1)], {}, MOVED),
    "value down": ([], [put("terms.box.value", 53.9)], {}, MOVED),
    "value up within rtol": ([], [put("terms.box.value", 54.1)], LOOSE, WITHIN),
    "value down within rtol": ([], [put("terms.box.value", 53.9)], LOOSE, WITHIN),
    "value up by less than a billionth": ([], [put("terms.box.value", 54 * (1 + 5e-10))], {}, WITHIN),
    "value up by two billionths": ([], [put("terms.box.value", 54 * (1 + 2e-9))], {}, MOVED),
    "value within atol": ([], [put("terms.box.value", 54.1)], {"default": {"atol": 0.2}}, WITHIN),
    "value at exactly atol": ([], [put("terms.box.value", 54.5)], {"default": {"atol": 0.5}}, WITHIN),
    "zero stays zero": ([], [put("terms.box.negative", -0.0)], {}, SAME),
    "zero no longer": ([], [put("terms.box.negative", 1e-300)], {}, MOVED),
    "tolerance of this term": ([], [put("terms.box.value", 54.1)], {"terms": {"box": {"rtol": 0.1}}}, WITHIN),
    "tolerance of another term": (
        [], [put("terms.box.value", 54.1)], {"terms": {"classification": {"rtol": 0.1}}}, MOVED,
    ),
    "a term stricter than the default": (
        [], [put("terms.box.value", 54.1)], {**LOOSE, "terms": {"box": {"rtol": 0}}}, MOVED,
    ),
    "positive and negative share apart": (
        [],
        [put("terms.classification.positive", 0.2), put("terms.classification.negative", 0.485179)],
        {},
        MOVED,
    ),
    "raw only": ([], [put("terms.box.raw", 55.0)], {}, MOVED),
    "weight only": ([], [put("terms.box.weight", 2.0)], {}, MOVED),
    "divisor only": ([], [put("terms.box.normalizer", {"name": "none", "used": 2.0})], {}, MOVED),
    "another normalizer": ([], [put("terms.box.normalizer", {"name": "images", "used": 1.0})], LOOSE, MOVED),
    "not finite now": ([], [put("terms.box.value", None)], LOOSE, MOVED),
    "not finite before": ([put("terms.box.value", None)], [], LOOSE, MOVED),
    "not finite at all": ([put("terms.box.value", None)], [put("terms.box.value", None)], LOOSE, MOVED),
    "NaN on both sides": (
        [put("terms.box.value", float("nan"))], [put("terms.box.value", float("nan"))], LOOSE, MOVED,
    ),
    "infinite on both sides": (
        [put("terms.box.value", float("inf"))], [put("terms.box.value", float("inf"))], LOOSE, MOVED,
    ),
    "term added": ([], [put("terms.dfl", TERM)], LOOSE, MOVED),
    "term removed": ([], [drop("terms.box")], LOOSE, MOVED),
    "term without input on both sides": ([put("terms.dfl", GONE)], [put("terms.dfl", GONE)], {}, SAME),
    "term without input only now": ([put("terms.dfl", TERM)], [put("terms.dfl", GONE)], LOOSE, MOVED),
    "term with input only now": ([put("terms.dfl", GONE)], [put("terms.dfl", TERM)], LOOSE, MOVED),
    "one more positive counted": ([], [put("counts.positive", 2)], LOOSE, MOVED),
    "one prediction fewer counted": ([], [put("counts.predictions", 2)], LOOSE, MOVED),
    "count that is new": ([], [put("counts.sampled", 2)], LOOSE, MOVED),
    "another image id": ([], [put("images.0.id", "street-2")], LOOSE, MOVED),
    "image id as a number": ([put("images.0.id", "1")], [put("images.0.id", 1)], LOOSE, MOVED),
    "one prediction more in an image": ([], [add_newcomer], LOOSE, MOVED),
    "positive lost": ([], [prediction(0, **LOST, margin=-0.1)], LOOSE, MOVED),
    "positive won": ([], [prediction(1, **WON, margin=0.1)], LOOSE, MOVED),
    "another box": ([], [prediction(0, ground_truth="GT2", ground_truth_index=1)], LOOSE, MOVED),
    "positive now ignored": ([], [prediction(0, **BAND)], LOOSE, MOVED),
    "another target, same box": ([], [prediction(0, target=0.5)], LOOSE, SAME),
    "another margin, same side": ([], [prediction(0, margin=0.5)], LOOSE, SAME),
    "another reason, same side": ([], [prediction(0, reason="LOW_QUALITY_MATCH")], LOOSE, SAME),
    "one flip, one allowed": ([], [prediction(0, **LOST, margin=-0.1)], {"flips": {"max": 1}}, WITHIN),
    "two flips, one allowed": (
        [], [prediction(0, **LOST), prediction(1, **WON)], {"flips": {"max": 1}}, MOVED,
    ),
    "tie lost": ([prediction(0, margin=1e-12)], [prediction(0, **LOST, margin=-1e-12)], {}, WITHIN),
    "tie won": ([prediction(1, margin=-1e-12)], [prediction(1, **WON, margin=1e-12)], {}, WITHIN),
    "tie on one side only": ([prediction(0, margin=1e-12)], [prediction(0, **LOST, margin=-0.1)], {}, MOVED),
    "tie by a wider rule": (
        [prediction(0, margin=1e-5)],
        [prediction(0, **LOST, margin=-1e-5)],
        {"flips": {"tie_eps": 1e-4}},
        WITHIN,
    ),
    "flip without rival": ([prediction(0, margin=None)], [prediction(0, **LOST, margin=None)], {}, MOVED),
    "rows in another order, told apart by id": ([], [reverse], {}, SAME),
    "rows in another order, no ids": ([nameless], [nameless, reverse], {}, MOVED),
    "ids taken away": ([], [nameless], {}, SAME),
    "vacuous now": ([], [put("verdict", "vacuous")], LOOSE, MOVED),
    "bad values at all": ([put("verdict", "nonfinite")], [put("verdict", "nonfinite")], LOOSE, MOVED),
    "parameter changed": ([], [put("resolved.assigner.topk", 10)], LOOSE, MOVED),
    "loss parameter changed": ([], [put("resolved.loss.box.beta", 2.0)], LOOSE, MOVED),
    "preset changed": ([], [put("resolved.preset", "yolov8")], LOOSE, MOVED),
    "dtype changed": ([], [put("resolved.dtype", "float32")], LOOSE, MOVED),
    "parameter that a newer version added": ([], [put("resolved.assigner.topk2", None)], {}, SAME),
    "semantics changed, equal numbers": ([], [put("resolved.semantics.task_aligned", 2)], {}, WITHIN),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_move(name: str) -> None:
    """Each row says what was done to either side, and whether that is a move or merely a difference."""
    before, now, tolerance, expected = TABLE[name]

    found = compare(run(*before), run(*now), Tolerances.model_validate(tolerance))

    assert (found.moved, found.differs) == expected


@pytest.mark.parametrize("name", TABLE)
def test_move_has_no_direction(name: str) -> None:
    """Swapping baseline and now never changes the verdict; only what is added becomes removed."""
    before, now, tolerance, (moved, _) = TABLE[name]

    assert compare(run(*now), run(*before), Tolerances.model_validate(tolerance)).moved == moved


def test_flip_names_both_sides() -> None:
    """A flip carries state, reason and margin as recorded and as now."""
    (flip,) = compare(run(), run(prediction(0, **LOST, margin=-0.1)), Tolerances()).flips

    assert flip.image == "street-1"
    assert flip.prediction == "A"
    assert flip.before is not None
    assert flip.now is not None
    assert (flip.before.state, flip.before.margin) == ("positive", 1 / 6)
    assert (flip.now.state, flip.now.margin) == ("negative", -0.1)
    assert flip_reason(flip) == "RANK_OUT_OF_TOPK"


def test_ties_come_last_and_are_named() -> None:
    """A tie is listed after the clear flips, with `TIE` as its reason."""
    ties = prediction(0, margin=1e-12), prediction(0, **LOST, margin=-1e-12)
    found = compare(run(ties[0]), run(ties[1], prediction(2, **WON, margin=0.2)), Tolerances())

    assert [(flip.prediction, flip_reason(flip)) for flip in found.flips] == [("C", "TOP_K"), ("A", "TIE")]


def test_prediction_that_is_gone_is_absent() -> None:
    """A positive that the image no longer has is a flip to `absent`."""
    (flip,) = compare(run(add_newcomer), run(), Tolerances()).flips

    assert (flip.prediction, flip.absent, flip.now) == ("D", "now", None)


def test_causes_name_link_and_change() -> None:
    """Changed inputs, parameters and semantics are each named as causes."""
    now = run(
        put("resolved.assigner.topk", 10),
        put("resolved.semantics.task_aligned", 2),
        inputs=INPUTS | {"predictions": "3" * 64},
    )

    found = compare(run(), now, Tolerances())

    assert [(cause.link, cause.detail) for cause in found.causes] == [
        ("predictions", "inputs changed: predictions"),
        ("assignment", "assigner.topk 13 → 10"),
        ("semantics", "semantics task_aligned 1 → 2"),
    ]


def test_changed_inputs_alone_are_a_move() -> None:
    """Frozen inputs are part of the case: others are told, even where the loss happens to be the same."""
    found = compare(run(), run(inputs=INPUTS | {"predictions": "3" * 64}), Tolerances())

    assert found.moved
    assert [cause.link for cause in found.causes] == ["predictions"]


def test_inputs_may_change_where_the_case_says_so() -> None:
    """Predictions that are computed anew: equal numbers are the same then, with a warning."""
    changed = run(inputs=INPUTS | {"predictions": "3" * 64})
    found = compare(run(), changed, Tolerances(inputs="any"))

    assert not found.moved
    assert found.differs


numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)


@given(a=numbers, b=numbers, rtol=st.floats(0, 1), atol=st.floats(0, 1e6))
def test_tolerance_is_symmetric_and_reflexive(a: float, b: float, rtol: float, atol: float) -> None:
    """Neither side is the reference, and a number always equals itself."""
    tolerance = Tolerance(rtol=rtol, atol=atol)

    assert tolerance.allows(a, a)
    assert tolerance.allows(a, b) == tolerance.allows(b, a)
    assert not Tolerance(rtol=0, atol=0).allows(a, b) or a == b
