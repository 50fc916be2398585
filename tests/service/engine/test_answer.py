"""The answer: the article's example to the digit, the contract's invariants, and what must never fail."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posneg.models.explain.reasons import CODES
from posneg.models.presets import preset, resolve
from posneg.service.engine import answer
from posneg.service.engine.scores import softmax
from posneg.service.errors import InvalidRequest, TooLarge
from posneg.service.schemas.losses import parse
from tests.service.engine.asking import CLASSES, EDGES, article, ask, dense_requests, sparse_requests

Json = dict[str, Any]


def near(value: float) -> Any:
    """Equal to 1e-9, relative or absolute."""
    return pytest.approx(value, rel=1e-9, abs=1e-9)


def test_the_article_is_answered_to_the_digit() -> None:
    """A positive, B and C negative with their reasons; every figure of the article."""
    result = ask(article())

    a, b, c = result["images"][0]["predictions"]
    assert [row["state"] for row in (a, b, c)] == ["positive", "negative", "negative"]
    assert a["metric"] == near(0.0419904)
    assert (a["ground_truth"], a["reason"], a["rank"], a["target"]) == ("GT1", "TOP_K", 1, 1.0)
    assert a["factors"] == {"score": near(0.9), "iou": near(0.046656)}
    assert a["margin"] == near(1 / 6)
    assert a["decided_by"] == {"quantity": "iou", "value": near(0.6), "cutoff": 0.5}
    assert (b["reason"], b["nearest"], b["metric"]) == ("BELOW_THRESHOLD", "GT2", near(0.0012288))
    assert (c["reason"], c["nearest"], c["metric"]) == ("BELOW_THRESHOLD", "GT1", near(2e-7))
    assert (b["margin"], c["margin"]) == (near(-0.2), near(-0.8))
    losses = [row["loss"] for row in (a, b, c)]
    assert [x["classification"] for x in losses] == [
        near(0.10536051565782628), near(0.35667494393873245), near(0.2231435513142097)
    ]  # fmt: skip
    assert [x["box"] for x in losses] == [54.0, 0.0, 0.0]
    assert result["total"] == near(54.685179010910765)
    one, two = result["images"][0]["ground_truth"]
    assert (one["state"], one["predictions"]) == ("assigned", ["A"])
    assert (two["state"], two["reason"], two["best"]["prediction"]) == ("unassigned", "BELOW_THRESHOLD", "B")


def test_without_negatives_the_article_counts_positives_alone() -> None:
    """`negative_weight: 0` leaves the positive's classification and box loss."""
    result = ask(article(loss={"classification": {"negative_weight": 0}}))

    assert result["total"] == near(54.10536051565783)
    assert result["terms"]["classification"]["negative"] == 0.0


def test_assignments_are_the_loss_answer_without_loss() -> None:
    """The same rows; no totals, terms, targets or losses."""
    loss, assignment = ask(article()), ask(article(), loss=False)

    assert "total" not in assignment
    assert "terms" not in assignment
    for ours, theirs in zip(
        assignment["images"][0]["predictions"], loss["images"][0]["predictions"], strict=True
    ):
        assert ours == {k: v for k, v in theirs.items() if k not in ("loss", "target")}


def check_invariants(result: Json) -> None:
    """Every sum of API.md closes, and every row has a state and a reason."""
    terms = result["terms"]
    assert result["total"] == near(sum(t["value"] for t in terms.values()))
    for term in terms.values():
        if term.get("available", True):
            assert term["value"] == near(term["weight"] * term["raw"] / term["normalizer"]["used"])
        assert term["positive"] + term["negative"] == near(term["value"])
    assert sum(image["total"] for image in result["images"]) == near(result["total"])
    for image in result["images"]:
        for name, value in image["terms"].items():
            assert sum(row["loss"][name] for row in image["predictions"]) == near(value)
        check_rows(image)
    counts = result["counts"]
    assert counts["predictions"] == counts["positive"] + counts["negative"] + counts["ignored"]
    states = [row["state"] for image in result["images"] for row in image["ground_truth"]]
    assert counts["ground_truth"] == len(states)
    assert counts["ground_truth_unassigned"] == states.count("unassigned")
    assert counts["ground_truth_ignored"] == states.count("ignored")


def check_rows(image: Json) -> None:
    """States and reasons are among the contract's; matches agree from both sides."""
    for row in image["predictions"]:
        assert row["state"] in ("positive", "negative", "ignored")
        assert row["reason"] in CODES
        if row["state"] == "positive":
            assert row["index"] in image["ground_truth"][row["ground_truth_index"]]["prediction_indices"]
            assert row["margin"] is None or row["margin"] >= 0
        elif row["state"] == "negative" and row["margin"] is not None:
            assert row["margin"] <= 0
    for row in image["ground_truth"]:
        assert row["state"] in ("assigned", "unassigned", "ignored")
        assert (row["state"] == "assigned") == bool(row["predictions"])
        if row["state"] == "unassigned":
            assert row["reason"] in CODES


PLAIN = [name for name in preset if "strides" not in resolve(name).needs]


def test_what_plain_predictions_cannot_give_is_pointed_at() -> None:
    """FCOS asks which level a prediction is of, and a list does not say."""
    with pytest.raises(InvalidRequest) as caught:
        ask(article(preset="fcos"))

    assert [fault.pointer for fault in caught.value.faults] == ["/images/0/predictions/strides"]


@pytest.mark.parametrize("name", PLAIN)
@given(request=sparse_requests())
@settings(max_examples=60)
def test_sums_close_on_plain_predictions(name: str, request: Json) -> None:
    """Any boxes and scores, under any preset."""
    check_invariants(ask({**request, "preset": name}))


@pytest.mark.parametrize("name", ["textbook", "yolov8"])
@given(request=dense_requests(), dtype=st.sampled_from(["float64", "float64", "float32"]))
@settings(max_examples=30)
def test_sums_close_on_dense_heads(name: str, request: Json, dtype: str) -> None:
    """Any logits and distributions; of float32, whose sums close less well, only finiteness is asked."""
    result = ask({**request, "preset": name, "dtype": dtype})
    if dtype == "float64":
        check_invariants(result)
    assert "nonfinite" not in result


@pytest.mark.parametrize("flavor", ["mmdet", "ultralytics", "ppdet"])
@given(request=dense_requests(), topk=st.integers(1, 13))
@settings(max_examples=25)
def test_margins_have_the_sign_of_the_state(flavor: str, request: Json, topk: int) -> None:
    """Positive means inside: at least 0 for positives, at most 0 for negatives, whatever the flavor."""
    assigner = {"flavor": flavor, "topk": topk}
    check_invariants(ask({**request, "preset": "yolov8", "assigner": assigner}))


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("edge", list(EDGES))
def test_edges_are_finite_and_explained(edge: str, name: str) -> None:
    """Nothing to match, nothing to match with, no area, huge logits: finite, and the invariants hold."""
    request = json.loads(json.dumps(EDGES[edge]))
    for image in request["images"]:
        if "logits" in image["predictions"] and softmax(resolve(name)):
            image["predictions"]["logits"] = [[*row, 0] for row in image["predictions"]["logits"]]
        image["size"] = [32, 32]
        if isinstance(image["predictions"], dict):
            image["predictions"]["strides"] = [8] * len(image["predictions"]["boxes"])

    result = ask({**request, "classes": CLASSES, "preset": name, "gradients": True})

    assert "nonfinite" not in result
    check_invariants(result)


def test_a_box_without_area_is_unassigned_and_told() -> None:
    """It counts as ground truth, is degenerate, and a warning says so."""
    result = ask({**EDGES["boxes without area"], "classes": CLASSES})

    reasons = [row["reason"] for row in result["images"][0]["ground_truth"]]
    assert reasons == ["DEGENERATE", "DEGENERATE"]
    assert "DEGENERATE_GROUND_TRUTH" in [w["code"] for w in result["warnings"]]
    assert result["verdict"] == "vacuous"


def test_values_that_are_not_finite_are_named_and_kept_out() -> None:
    """The verdict says it, the row says it, and the rest is counted as if it were not there."""
    request = article()
    request["images"][0]["predictions"][1]["box"][0] = float("nan")

    result = ask(request)

    rows = result["images"][0]["predictions"]
    assert result["verdict"] == "nonfinite"
    assert (rows[1]["state"], rows[1]["reason"]) == ("ignored", "NONFINITE")
    assert result["total"] == near(54.685179010910765 - 0.35667494393873245)


def test_what_a_sampler_left_out_is_ignored_and_pays_nothing() -> None:
    """`sampled` lists those that were taken; the others say NOT_SAMPLED, a would-be positive too."""
    image = {
        "id": 1,
        "ground_truth": [{"box": [0, 0, 40, 40], "label": "car"}],
        "predictions": {
            "boxes": [[0, 0, 40, 40], [0, 0, 40, 38], [60, 60, 90, 90]],
            "scores": [[0.9], [0.8], [0.1]],
            "sampled": [1],
        },
    }

    result = ask({"images": [image], "classes": ["car"], "preset": "textbook"})

    rows = result["images"][0]["predictions"]
    assert [row["state"] for row in rows] == ["ignored", "positive", "ignored"]
    assert [row["reason"] for row in rows] == ["NOT_SAMPLED", "TOP_K", "NOT_SAMPLED"]
    assert [sum(row["loss"].values()) > 0 for row in rows] == [False, True, False]
    check_invariants(result)


@pytest.mark.parametrize(("flavor", "cost"), [("detr", 1.0), ("rtdetr", 2.0)])
def test_defaults_that_go_by_flavor_are_told(flavor: str, cost: float) -> None:
    """What was resolved has numbers, not a null that stands for one."""
    result = ask(article(assigner={"name": "hungarian", "flavor": flavor}), loss=False)

    assert result["resolved"]["assigner"]["class_cost"] == cost


def test_columns_that_no_term_uses_are_told() -> None:
    """Objectness under a preset without an objectness term is warned of, not silently dropped."""
    predictions = {"boxes": [[0, 0, 1, 1]], "scores": [[0.5]], "objectness": [0.1]}
    image = {"id": 1, "ground_truth": [], "predictions": predictions}

    result = ask({"images": [image], "classes": ["car"], "preset": "textbook"})

    assert [w["code"] for w in result["warnings"]] == ["COLUMN_NOT_USED"]


def test_raw_outputs_are_decoded_from_their_cell() -> None:
    """A centre half a cell off its corner and sides of two strides: the box around the cell's centre."""
    predictions = {"raw": [[0.5, 0.5, 0.6931471805599453, 0.6931471805599453]], "scores": [[0.9]]}
    predictions |= {"points": [[4, 4]], "strides": [8]}
    image = {"id": 1, "ground_truth": [{"box": [-4, -4, 12, 12], "label": "car"}], "predictions": predictions}

    row = ask({"images": [image], "classes": ["car"], "preset": "textbook"})["images"][0]["predictions"][0]

    assert row["iou"] == near(1.0)


def test_a_head_is_chosen_only_where_there_are_several() -> None:
    """Not ignored where it means nothing."""
    with pytest.raises(InvalidRequest) as caught:
        ask(article(head="one_to_one"))

    assert [fault.pointer for fault in caught.value.faults] == ["/head"]


def test_a_ground_truths_weight_multiplies_its_predictions_loss_alone() -> None:
    """Linear in the weight, at a fixed assignment, for both terms; negatives stay as they are."""
    request = article()
    request["images"][0]["ground_truth"][0]["weight"] = 3

    result = ask(request)

    assert result["total"] == near(3 * (54 + 0.10536051565782628) + 0.5798184952529422)


def test_soft_labels_are_targets_of_every_class() -> None:
    """A share of each class in place of 1 for one."""
    request = article()
    request["images"][0]["ground_truth"][0]["soft_label"] = {"car": 0.8, "person": 0.2}
    request["images"][0]["predictions"][0] = {
        "id": "A", "box": [127.5, 50, 237.5, 150], "scores": {"car": 0.9, "person": 0.3}
    }  # fmt: skip

    row = ask(request)["images"][0]["predictions"][0]

    expected = -(0.8 * -0.10536051565782628 + 0.2 * -2.302585092994046)
    expected += -(0.2 * -1.203972804325936 + 0.8 * -0.35667494393873245)
    assert row["loss"]["classification"] == near(expected)


def test_options_that_do_not_fit_are_all_pointed_at() -> None:
    """Unknown assigner option, unknown term, wrong type and unknown normalizer in one answer."""
    wrong = article(
        assigner={"topk": 0, "tokp": 3},
        loss={
            "boxes": {},
            "box": {"weight": "much", "normalizer": "sum"},
            "classification": {"name": "giou"},
        },
    )
    with pytest.raises(InvalidRequest) as caught:
        ask(wrong)

    assert {fault.pointer for fault in caught.value.faults} == {
        "/assigner/topk",
        "/assigner/tokp",
        "/loss/boxes",
        "/loss/box/weight",
        "/loss/box/normalizer",
        "/loss/classification/name",
    }


def test_more_pairs_than_allowed_are_refused_with_the_number() -> None:
    """The answer says how many there were and how many may be."""
    with pytest.raises(TooLarge, match=r"6 pairs .* at most 5"):
        answer(parse(json.dumps(article()).encode()), loss=True, max_pairs=5)


@given(request=sparse_requests(), key=st.sampled_from(["image", "class", "size", "level", "ground_truth"]))
@settings(max_examples=40)
def test_groups_add_up_to_the_total(request: Json, key: str) -> None:
    """Whatever they are grouped by, every prediction is counted once."""
    result = ask({**request, "group_by": [key]})

    groups = result["groups"][key]
    assert sum(g["total"] for g in groups) == near(result["total"])
    assert sum(g["count"] for g in groups) == result["counts"]["predictions"]


def test_terms_that_the_input_cannot_give_are_told() -> None:
    """Plain boxes have no distributions: the term is there, null, and warned of."""
    result = ask(article(preset="yolov8"))

    assert result["terms"]["dfl"]["raw"] is None
    assert result["terms"]["dfl"]["available"] is False
    assert "TERM_NOT_AVAILABLE" in [w["code"] for w in result["warnings"]]


@pytest.mark.parametrize("detail", ["positives", "summary"])
def test_less_detail_has_the_same_figures(detail: str) -> None:
    """Only rows are left out."""
    full, less = ask(article()), ask(article(detail=detail))

    assert less["total"] == full["total"]
    assert less["terms"] == full["terms"]
    assert less["counts"] == full["counts"]


@pytest.mark.parametrize("box_format", ["xyxy", "xywh", "cxcywh"])
def test_gradients_are_in_the_units_sent(box_format: str) -> None:
    """A small step of each coordinate as sent changes the total by the gradient."""
    to = {
        "xyxy": lambda x1, y1, x2, y2: [x1, y1, x2, y2],
        "xywh": lambda x1, y1, x2, y2: [x1, y1, x2 - x1, y2 - y1],
        "cxcywh": lambda x1, y1, x2, y2: [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1],
    }[box_format]
    request = article(box_format=box_format, gradients=True)
    for kind in ("ground_truth", "predictions"):
        for element in request["images"][0][kind]:
            element["box"] = to(*element["box"])
    first = request["images"][0]["predictions"][0]
    first["box"][0] += 0.25  # away from equal coordinates, where the loss has a kink
    first["box"][1] += 0.25
    base = ask(request)
    gradient = base["images"][0]["predictions"][0]["gradient"]

    step = 1e-6
    for axis in range(4):
        first["box"][axis] += step
        moved = ask(request)["total"]
        first["box"][axis] -= step
        assert (moved - base["total"]) / step == pytest.approx(gradient["box"][axis], abs=1e-4)
