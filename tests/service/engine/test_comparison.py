"""Comparisons worked by hand: who gets what of a move, what its cause is called, ties, what has no parts."""

from copy import deepcopy
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest

from posneg.service.engine.comparison import compare
from tests.service.engine.asking import article
from tests.service.engine.comparing import PARTS, compared, explained, obeys_the_laws, variant

Json = dict[str, Any]
PAGE = Path(__file__).parents[3] / "docs" / "api.md"


def edited(request: Json, **changes: Any) -> Json:
    """The request with prediction A changed."""
    other = deepcopy(request)
    other["images"][0]["predictions"][0] |= changes
    return other


def parts(term: Json) -> list[float]:
    """The six parts in order."""
    return [term[part] for part in PARTS]


def test_a_lower_score_is_the_direct_effect_of_predictions() -> None:
    """A still answers for GT1: its loss goes from -ln 0.9 to -ln 0.6, and nothing else is to blame."""
    explanation = obeys_the_laws(article(), edited(article(), score=0.6))

    moved = -log(0.6) + log(0.9)
    assert parts(explanation["terms"]["classification"]) == pytest.approx([0, moved, 0, 0, 0, 0])
    assert parts(explanation["terms"]["box"]) == [0] * 6
    assert explanation["causes"] == [{"link": "predictions", "detail": "1 prediction changed"}]


def test_a_lost_match_is_shared_between_what_moved_and_what_became_of_it() -> None:
    """Score 0.9 → 0.6 and box out of reach: half of each order's difference, by hand."""
    away = edited(article(), score=0.6, box=[160.0, 50, 270, 150])

    explanation = obeys_the_laws(article(), away)

    before, after = -log(0.9), -log(1 - 0.6)
    scored, dropped = -log(0.6), -log(1 - 0.9)  # only the score lower; only the match lost
    predictions = ((scored - before) + (after - dropped)) / 2
    assignment = ((dropped - before) + (after - scored)) / 2
    term = explanation["terms"]["classification"]
    assert parts(term) == pytest.approx([0, predictions, assignment, 0, 0, 0])
    assert term["assignment_matches"] == term["assignment"]
    # Smooth L1 in pixels: A is 27.5 off on two sides, then would be 60 off; unmatched it pays nothing.
    assert parts(explanation["terms"]["box"]) == pytest.approx([0, 32.5, -86.5, 0, 0, 0])
    assert [c["link"] for c in explanation["causes"]] == ["predictions"]
    for name, told in explanation["terms"].items():
        row = [f"{told[part]:.6f}" for part in ("delta", "predictions", "assignment")]
        assert f"| `{name}` | {' | '.join(row)} |" in PAGE.read_text()


def test_a_lost_positive_moves_the_divisor_and_is_not_its_cause() -> None:
    """The rule of the divisor is the same: only the assigner's parameter is to blame."""
    recipe = {"loss": {"box": {"normalizer": "positives"}, "classification": {"normalizer": "positives"}}}
    lenient = article(assigner={"min_iou": 0.3}, **recipe)

    explanation = obeys_the_laws(lenient, article(assigner={"min_iou": 0.5}, **recipe))

    assert explanation["terms"]["box"]["normalizer"] > 0 > explanation["terms"]["box"]["assignment"]
    assert explanation["causes"] == [{"link": "assignment", "detail": "assigner.min_iou 0.3 → 0.5"}]


def test_causes_come_in_the_order_of_the_chain() -> None:
    """Everything at once."""
    other = edited(article(), score=0.6)
    other["images"][0]["ground_truth"][1]["weight"] = 2
    other |= {
        "assigner": {"min_iou": 0.3},
        "loss": {"box": {"name": "l1", "weight": 2, "normalizer": "positives"}},
    }

    explanation = obeys_the_laws(article(), other)

    assert [(c["link"], c["detail"]) for c in explanation["causes"]] == [
        ("ground_truth", "1 box changed"),
        ("predictions", "1 prediction changed"),
        ("assignment", "assigner.min_iou 0.5 → 0.3"),
        ("weights", "loss.box.weight 1.0 → 2.0"),
        ("formula", "loss.box.name smooth_l1 → l1"),
    ]


def test_a_divisor_that_counts_otherwise_is_a_cause() -> None:
    """From a's own assignment, b's rule gives another number."""
    explanation = obeys_the_laws(article(), article(loss={"box": {"normalizer": "predictions"}}))

    assert explanation["causes"] == [
        {"link": "normalizer", "detail": "loss.box.normalizer none → predictions", "term": "box"}
    ]


RIVALS: Json = {
    "images": [
        {
            "id": 1,
            "ground_truth": [{"box": [0, 0, 10, 10], "label": "car"}],
            "predictions": [
                {"id": "A", "box": [0, 0, 10, 10], "label": "car", "score": 0.8},
                {"id": "B", "box": [0, 0, 10, 10], "label": "car", "score": 0.79999},
            ],
        }
    ],
    "classes": ["car"],
    "preset": "textbook",
    "assigner": {"topk": 1},
}


def test_flips_that_were_decided_by_next_to_nothing_are_ties() -> None:
    """B overtakes A by 1e-5: their share of the assignment is `ties`; with a smaller tolerance it is none."""
    other = deepcopy(RIVALS)
    other["images"][0]["predictions"][1]["score"] = 0.80001

    pair = compared(RIVALS, other, tie_eps=1e-3)["pairs"][0]
    strict = explained(RIVALS, other)

    assert [(f["prediction"], f["reason"], f["tie"]) for f in pair["flips"]] == [
        ("A", "TIE", True),
        ("B", "TIE", True),
    ]
    term = pair["explanation"]["terms"]["classification"]
    assert term["ties"] == term["assignment"] != 0
    assert strict["terms"]["classification"]["ties"] == 0


def test_an_order_that_decides_is_told() -> None:
    """Two boxes with equal claims on a prediction: the first has it, and the order is all that changed."""
    request: Json = {
        "images": [
            {
                "id": 1,
                "ground_truth": [
                    {"box": [0, 0, 10, 8], "label": "car"},
                    {"box": [0, 2, 10, 10], "label": "car"},
                ],
                "predictions": [{"box": [0, 0, 10, 10], "label": "car", "score": 0.8}],
            }
        ],
        "classes": ["car"],
        "preset": "textbook",
    }
    turned = deepcopy(request)
    turned["images"][0]["ground_truth"].reverse()

    pair = compared(request, turned)["pairs"][0]

    assert [flip["tie"] for flip in pair["flips"]] == [True]
    assert [c["link"] for c in pair["explanation"]["causes"]] == ["predictions"]
    assert "another order" in pair["explanation"]["causes"][0]["detail"]


def test_what_other_code_printed_belongs_to_the_formula() -> None:
    """The move is between the reported values; what today's code does not account for is the formula's."""
    a, b = variant("a", article()), variant("b", edited(article(), score=0.6))
    classification = -log(0.6) - log(0.7) - log(0.8)
    seen = replace(b, observed={"box": 54.5, "classification": classification})

    explanation = compare([a, seen], tie_eps=1e-9)["pairs"][0]["explanation"]

    assert parts(explanation["terms"]["box"]) == [0, 0, 0, 0, 0, 0.5]
    assert explanation["terms"]["box"]["delta"] == 0.5
    assert explanation["terms"]["classification"]["formula"] == 0
    assert [(c["link"], c.get("term")) for c in explanation["causes"]] == [
        ("predictions", None),
        ("formula", "box"),
    ]


def test_the_largest_shares_come_first_and_the_rest_is_counted() -> None:
    """At most a hundred rows, by size."""
    boxes = [[12.0 * n, 0, 12.0 * n + 10, 10] for n in range(80)]
    request: Json = {
        "images": [
            {
                "id": 1,
                "ground_truth": [{"box": box, "label": "car"} for box in boxes],
                "predictions": [
                    {"box": [v + 0.01 * n for v in box], "label": "car", "score": 0.9}
                    for n, box in enumerate(boxes)
                ],
            }
        ],
        "classes": ["car"],
        "preset": "textbook",
    }
    doubled = {"box": {"weight": 2}, "classification": {"weight": 3}}

    explanation = explained(request, {**request, "loss": doubled})

    sizes = [abs(row["value"]) for row in explanation["rows"]]
    assert (len(sizes), sizes) == (100, sorted(sizes, reverse=True))
    assert explanation["rows_left_out"] == 80 + 79 - 100  # the first box is met exactly
    assert {row["part"] for row in explanation["rows"]} == {"weights"}


def test_a_term_of_one_side_has_no_parts() -> None:
    """Its move is all there is to tell."""
    explanation = obeys_the_laws(article(preset="retinanet"), article(preset="faster_rcnn_rpn"))

    assert explanation["terms"]["classification"]["unavailable"] == "only a has it"
    assert explanation["terms"]["objectness"]["unavailable"] == "only b has it"
    assert explanation["terms"]["objectness"]["delta"] > 0
    assert parts(explanation["terms"]["box"])


def test_a_value_that_is_not_finite_has_no_parts() -> None:
    """A weight that float16 cannot bear: the move is told as one that has no number."""
    heavy = article(loss={"box": {"name": "mse", "weight": 60000}})

    answer = compared({**heavy, "dtype": "float64"}, {**heavy, "dtype": "float16"})

    box = answer["pairs"][0]["explanation"]["terms"]["box"]
    assert box == {"delta": None, "unavailable": "a value is not finite"}
    assert "/pairs/0/explanation/terms/box/delta" in answer["nonfinite"]


def test_a_prediction_with_nan_is_told_as_changed_and_pays_nothing() -> None:
    """The rest closes."""
    explanation = obeys_the_laws(article(), edited(article(), score=float("nan")))

    assert explanation["terms"]["box"]["delta"] == -54
    assert [c["link"] for c in explanation["causes"]] == ["predictions"]


def test_a_recipe_that_cannot_read_the_other_side_says_so() -> None:
    """Totals and flips stand; the explanation is unavailable."""
    head = {
        "id": 1,
        "size": [32, 32],
        "ground_truth": [{"box": [2, 2, 30, 30], "label": "car"}],
        "predictions": {"boxes": [[0, 0, 32, 32]], "logits": [[1.0]]},
    }
    softmax = deepcopy(head)
    softmax["predictions"]["logits"] = [[1.0, 0.0]]

    answer = compared(
        {"images": [head], "classes": ["car"], "preset": "tood"},
        {"images": [softmax], "classes": ["car"], "preset": "detr"},
    )

    assert "cannot read" in answer["pairs"][0]["explanation"]["unavailable"]
    assert answer["pairs"][0]["flips"] == []


def test_the_order_of_inferred_classes_does_not_matter() -> None:
    """Classes are told apart by name, their weights too."""
    request = article(loss={"classification": {"class_weights": [1, 3]}})
    turned = {**deepcopy(request), "classes": ["person", "car"]}
    turned["loss"] = {"classification": {"class_weights": [3, 1]}}

    explanation = obeys_the_laws(request, turned)

    assert explanation["causes"] == []
    assert all(parts(term) == [0] * 6 for term in explanation["terms"].values())


def test_a_class_that_one_side_lacks_closes_all_the_same() -> None:
    """A prediction of a class that nothing has any more, with classes inferred."""
    request = article()
    del request["classes"]
    other = deepcopy(request)
    other["images"][0]["predictions"][1]["label"] = "dog"
    other["images"][0]["ground_truth"][1]["label"] = "dog"
    other["images"][0]["predictions"][2]["scores"] = {"dog": 0.2}

    for changes in ({}, {"assigner": {"min_iou": 0.3}}, {"preset": "ssd"}):
        obeys_the_laws({**request, **changes}, {**other, **changes})


def test_images_of_one_side_are_added_and_removed() -> None:
    """Paired by id, wherever they stand; per image divisors included."""
    one, other = article(), article()
    other["images"][0]["id"] = "street-2"
    both = {**one, "images": [*other["images"], *one["images"]]}
    loss = {"box": {"normalizer": {"name": "positives", "scope": "image"}}}

    explanation = obeys_the_laws({**one, "loss": loss}, {**both, "loss": loss})
    obeys_the_laws({**one, "loss": loss}, {**other, "loss": loss})

    assert explanation["causes"] == [
        {"link": "ground_truth", "detail": "1 image added, 2 boxes added"},
        {"link": "predictions", "detail": "3 predictions added"},
    ]
