"""What holds of every explanation: it closes, turns around, and blames nothing that did not change."""

import random
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.models import goldens
from tests.service.engine.asking import CLASSES, dense_requests, sparse_requests
from tests.service.engine.comparing import differs_in, explained, obeys_the_laws
from tests.service.engine.recipes import FAMILIES

Json = dict[str, Any]
RECIPES: list[Json] = [
    {"preset": "textbook"},
    {"preset": "textbook", "assigner": {"min_iou": 0.2, "topk": 2}},
    {"preset": "textbook", "loss": {"box": {"name": "giou"}, "classification": {"negative_weight": 0.25}}},
    {"preset": "textbook", "loss": {"classification": {"class_weights": [1, 2, 0.5], "target": "metric"}}},
    {"preset": "textbook", "loss": {"box": {"normalizer": {"name": "positives", "scope": "image"}}}},
    {"preset": "yolov8"},
    {"preset": "yolov8", "assigner": {"topk": 1}},
    {"preset": "tood"},
    {"preset": "retinanet"},
    {"preset": "ssd"},
    {"preset": "detr"},
    {"preset": "detr", "loss": {"classification": {"background_weight": 0.5}}},
    {"preset": "rtdetr"},
    {"preset": "faster_rcnn_rpn"},
]
DENSE_RECIPES: list[Json] = [
    {"preset": "yolov8"},
    {"preset": "yolov8", "assigner": {"topk": 3}},
    {
        "preset": "yolov8",
        "loss": {"box": {"name": "giou", "normalizer": "ground_truth"}, "dfl": {"weight": 3}},
    },
    {"preset": "ppyoloe"},
    {"preset": "tood"},
]


@settings(max_examples=60)
@given(a=sparse_requests(), b=sparse_requests(), recipes=st.tuples(*[st.sampled_from(RECIPES)] * 2))
def test_any_two_lists_close_and_turn_around(a: Json, b: Json, recipes: tuple[Json, Json]) -> None:
    """Other images, boxes, predictions and recipes, all at once."""
    obeys_the_laws({**a, **recipes[0]}, {**b, **recipes[1]})


@settings(max_examples=40)
@given(request=sparse_requests(), recipes=st.tuples(*[st.sampled_from(RECIPES)] * 2))
def test_equal_inputs_have_no_part(request: Json, recipes: tuple[Json, Json]) -> None:
    """Where only recipes differ, ground truth and predictions are exactly 0 and no cause."""
    explanation = obeys_the_laws({**request, **recipes[0]}, {**request, **recipes[1]})

    assert not differs_in(explanation) & {"ground_truth", "predictions"}
    assert not {c["link"] for c in explanation["causes"]} & {"ground_truth", "predictions"}
    if recipes[0] == recipes[1]:
        assert differs_in(explanation) == set()
        assert explanation["causes"] == explanation["rows"] == []


@settings(max_examples=25)
@given(a=dense_requests(), b=dense_requests(), recipes=st.tuples(*[st.sampled_from(DENSE_RECIPES)] * 2))
def test_any_two_heads_close_and_turn_around(a: Json, b: Json, recipes: tuple[Json, Json]) -> None:
    """Columns of a head are paired by index."""
    obeys_the_laws({**a, **recipes[0]}, {**b, **recipes[1]})


@given(request=sparse_requests(), recipe=st.sampled_from(RECIPES), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_only_inputs_changed_is_the_one_cause(request: Json, recipe: Json, seed: int) -> None:
    """Whatever flips: the same recipe over other predictions has predictions for its cause."""
    changed = deepcopy(request)
    elements = [p for image in changed["images"] for p in image["predictions"]]
    assume(elements)
    element = elements[seed % len(elements)]
    element["score"] = (element["score"] + 0.3) % 1

    explanation = obeys_the_laws({**request, **recipe}, {**changed, **recipe})

    assert [c["link"] for c in explanation["causes"]] == ["predictions"]
    assert "ground_truth" not in differs_in(explanation)
    assert not differs_in(explanation) & {"weights", "formula"}


SINGLE: list[tuple[str, Json, Json]] = [
    ("weights", {"loss": {"box": {"weight": 3}}}, {"preset": "textbook"}),
    ("weights", {"loss": {"classification": {"negative_weight": 0.5}}}, {"preset": "yolov8"}),
    ("weights", {"loss": {"classification": {"class_weights": [1, 2, 3]}}}, {"preset": "textbook"}),
    ("formula", {"loss": {"box": {"name": "diou"}}}, {"preset": "yolov8"}),
    ("formula", {"loss": {"classification": {"gamma": 1.5}}}, {"preset": "retinanet"}),
    ("formula", {"loss": {"box": {"beta": 0.2}}}, {"preset": "textbook"}),
    ("normalizer", {"loss": {"box": {"normalizer": "ground_truth"}}}, {"preset": "retinanet"}),
    ("normalizer", {"loss": {"box": {"scope": "image"}}}, {"preset": "yolov8"}),
    ("normalizer", {"loss": {"classification": {"normalizer": "predictions"}}}, {"preset": "textbook"}),
    ("assignment", {"assigner": {"topk": 1}}, {"preset": "textbook"}),
    ("assignment", {"loss": {"classification": {"target": "iou"}}}, {"preset": "textbook"}),
]


@pytest.mark.parametrize(("ingredient", "change", "recipe"), SINGLE)
@settings(max_examples=8)
@given(request=sparse_requests())
def test_a_single_ingredient_gets_all_of_the_move(
    ingredient: str, change: Json, recipe: Json, request: Json
) -> None:
    """The others are exactly 0, and it is the cause."""
    explanation = obeys_the_laws({**request, **recipe}, {**request, **recipe, **change})

    assert differs_in(explanation) <= {ingredient}
    for term in explanation["terms"].values():
        assert term[ingredient] == pytest.approx(term["delta"], abs=1e-9 * max(1, abs(term["delta"])))
    assert {c["link"] for c in explanation["causes"]} <= {ingredient}


@pytest.mark.parametrize("preset", ["textbook", "yolov8", "retinanet", "tood", "ssd", "rtdetr"])
@given(seed=st.integers(0, 2**31))
@settings(max_examples=6)
def test_order_changes_nothing(preset: str, seed: int) -> None:
    """Images, boxes and predictions shuffled: nothing moves, and a real move has the same parts."""
    request = scattered(seed)
    request["preset"] = preset
    moved = deepcopy(request)
    moved["images"][0]["predictions"][0]["box"][2] += 3
    moved["assigner"] = {"min_iou": 0.4} if preset == "textbook" else {}

    assert differs_in(explained(request, shuffled(request, seed))) == set()
    straight = explained(request, moved)
    crooked = explained(shuffled(request, seed), shuffled(moved, seed + 1))
    for name, term in straight["terms"].items():
        assert crooked["terms"][name] == pytest.approx(term, abs=1e-9 * max(1, abs(term["delta"])))
    assert [c["link"] for c in straight["causes"]] == [c["link"] for c in crooked["causes"]]


@given(seed=st.integers(0, 2**31), preset=st.sampled_from(["textbook", "yolov8", "retinanet"]))
@settings(max_examples=12)
def test_added_then_removed_is_nothing(seed: int, preset: str) -> None:
    """A prediction and a box added, then taken away: part by part the two moves cancel."""
    request = {**scattered(seed), "preset": preset}
    more = deepcopy(request)
    more["images"][0]["predictions"].append({"box": [5.5, 6, 28, 31], "label": "dog", "score": 0.7})
    more["images"][0]["ground_truth"].append({"box": [4, 6, 27, 30], "label": "dog"})

    forth, back = explained(request, more)["terms"], explained(more, request)["terms"]

    assert forth["classification"]["delta"] != 0
    for name, term in forth.items():
        for key, value in term.items():
            assert value + back[name][key] == pytest.approx(0, abs=1e-9 * max(1, abs(term["delta"])))


CHANGES: dict[str, Json] = {
    "weight": {"loss": {"classification": {"weight": 0.7}}},
    "normalizer": {"loss": {"box": {"normalizer": "images"}, "giou": {"normalizer": "images"}}},
    "batch": {"loss": {"classification": {"scope": "image"}}},
}


@pytest.mark.parametrize("prefix", [p for p in FAMILIES if p != "crit_dfine_"])
def test_every_recipe_obeys_the_laws(prefix: str) -> None:
    """The upstream's vectors as they are, with weight and divisor changed, and with a box less."""
    name = goldens.names(prefix)[0]
    request = {**FAMILIES[prefix](goldens.load(name))[0].request, "gradients": False}
    known = explained(request, request)["terms"]

    for change in CHANGES.values():
        loss = {term: options for term, options in change["loss"].items() if term in known}
        assert differs_in(obeys_the_laws(request, {**request, "loss": loss})) <= {"weights", "normalizer"}
    fewer = deepcopy(request)
    for image in fewer["images"]:
        image["ground_truth"] = image["ground_truth"][1:]
    explanation = obeys_the_laws(request, fewer)
    assert [c["link"] for c in explanation["causes"]] == ["ground_truth"]
    assert not differs_in(explanation) & {"predictions", "weights", "formula"}


@pytest.mark.parametrize("prefix", FAMILIES)
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_everything_at_once_obeys_the_laws(prefix: str, dtype: str | None) -> None:
    """Another head, other boxes, weights, divisors and box loss: it closes and turns around."""
    drawn = random.Random(prefix)
    request = {**FAMILIES[prefix](goldens.load(goldens.names(prefix)[0]))[0].request, "gradients": False}
    other = deepcopy(request)
    for image in other["images"]:
        head = image["predictions"]
        for column in ("logits", "scores", "dfl", "ltrb", "deltas", "raw", "objectness", "centerness"):
            if column in head:
                head[column] = jittered(head[column], drawn)
        for box in image["ground_truth"][:1]:
            box |= {"box": [v * 1.001 for v in box["box"]], "weight": 2.0}
        image["ground_truth"] = image["ground_truth"][:-1] or image["ground_truth"]
    other["images"].reverse()
    loss: Json = {
        term: {"weight": 0.7, "normalizer": "predictions"} for term in explained(request, request)["terms"]
    }
    loss.get("box", {})["name"] = "siou"
    changed = {**other, "loss": loss, **({"dtype": dtype} if dtype else {})}

    assert "unavailable" not in obeys_the_laws(request, changed)


def jittered(values: Any, drawn: random.Random) -> Any:
    """Every number moved a little, inside 0..1 where it was."""
    if isinstance(values, list):
        return [jittered(value, drawn) for value in values]
    moved = values + drawn.uniform(-0.05, 0.05)
    return min(max(moved, 0.0), 1.0) if 0 <= values <= 1 else moved


def scattered(seed: int) -> Json:
    """Images without ties: every number is another."""
    drawn = random.Random(seed)

    def box() -> list[float]:
        x, y = drawn.uniform(0, 30), drawn.uniform(0, 30)
        return [x, y, x + drawn.uniform(8, 30), y + drawn.uniform(8, 30)]

    def near(other: list[float]) -> list[float]:
        return [v + drawn.uniform(-3, 3) for v in other]

    images = []
    for number in range(3):
        truths = [{"box": box(), "label": drawn.choice(CLASSES)} for _ in range(4)]
        found = [
            {
                "box": near(truths[n % 4]["box"]),
                "label": drawn.choice([truths[n % 4]["label"], *CLASSES]),
                "score": drawn.uniform(0.05, 0.95),
            }
            for n in range(9)
        ]
        images.append({"id": number, "size": [64, 64], "ground_truth": truths, "predictions": found})
    return {"images": images, "classes": CLASSES}


def shuffled(request: Json, seed: int) -> Json:
    """The request with images, boxes and predictions in another order."""
    drawn, other = random.Random(seed), deepcopy(request)
    drawn.shuffle(other["images"])
    for image in other["images"]:
        drawn.shuffle(image["ground_truth"])
        drawn.shuffle(image["predictions"])
    return other
