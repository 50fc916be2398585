"""Every preset resolves, every override is checked, and what is not changed stays as published."""

import pytest

from posneg.models.assigners import assigner
from posneg.models.losses import losses
from posneg.models.presets import preset, resolve
from posneg.models.registry import InvalidOptions, defaults_of


@pytest.mark.parametrize("name", list(preset))
def test_presets_resolve_with_every_option_filled_in(name: str) -> None:
    """Nothing is left to a default that the answer would not show."""
    recipe = resolve(name)

    assert recipe.preset == name
    assert recipe.assigner_options.keys() == defaults_of(assigner[recipe.assigner]).keys()
    for term in recipe.terms.values():
        assert term.options.keys() == defaults_of(losses[term.loss]).keys()


@pytest.mark.parametrize("name", list(preset))
@pytest.mark.parametrize("other", list(assigner))
def test_another_assigner_starts_from_its_own_defaults(name: str, other: str) -> None:
    """A preset's options of one assigner say nothing about another's."""
    recipe = resolve(name, assigner={"name": other})

    if other != resolve(name).assigner:
        assert recipe.assigner_options == defaults_of(assigner[other])
    assert recipe.assigner == other


def test_another_flavor_keeps_the_recipes_other_fields() -> None:
    """YOLOv8's top-k and exponents, in TOOD's flavor."""
    options = resolve("yolov8", assigner={"flavor": "mmdet"}).assigner_options

    assert (options["flavor"], options["topk"], options["alpha"]) == ("mmdet", 10, 0.5)


def test_another_loss_comes_in_the_recipes_flavor() -> None:
    """RetinaNet with an overlap loss takes torchvision's, and compares boxes."""
    term = resolve("retinanet", loss={"box": {"name": "ciou"}}).terms["box"]

    assert term.options["flavor"] == "torchvision"
    assert (term.normalizer, term.scope) == ("positives", "image")


def test_a_normalizer_may_come_with_its_scope() -> None:
    """As one object or as two fields."""
    nested = resolve("textbook", loss={"box": {"normalizer": {"name": "positives", "scope": "image"}}})
    flat = resolve("textbook", loss={"box": {"normalizer": "positives", "scope": "image"}})

    assert nested == flat
    assert flat.terms["box"].scope == "image"


WRONG = {
    "unknown preset": ({"name": "yolo"}, ("preset",)),
    "unknown assigner": ({"name": "textbook", "assigner": {"name": "best"}}, ("assigner", "name")),
    "unknown option": ({"name": "textbook", "assigner": {"k": 3}}, ("assigner", "k")),
    "wrong type": ({"name": "textbook", "assigner": {"topk": "3"}}, ("assigner", "topk")),
    "a boolean for a number": ({"name": "textbook", "assigner": {"alpha": True}}, ("assigner", "alpha")),
    "a fraction for a whole number": ({"name": "textbook", "assigner": {"topk": 2.5}}, ("assigner", "topk")),
    "below the least": ({"name": "textbook", "assigner": {"alpha": -1}}, ("assigner", "alpha")),
    "not finite": ({"name": "textbook", "assigner": {"alpha": float("inf")}}, ("assigner", "alpha")),
    "unknown flavor": ({"name": "yolov8", "assigner": {"flavor": "x"}}, ("assigner", "flavor")),
    "unknown term": ({"name": "textbook", "loss": {"dfl": {}}}, ("loss", "dfl")),
    "unknown loss": ({"name": "textbook", "loss": {"box": {"name": "l3"}}}, ("loss", "box", "name")),
    "a loss of another kind": (
        {"name": "textbook", "loss": {"box": {"name": "focal"}}},
        ("loss", "box", "name"),
    ),
    "unknown loss option": ({"name": "textbook", "loss": {"box": {"gamma": 1}}}, ("loss", "box", "gamma")),
    "unknown normalizer": (
        {"name": "textbook", "loss": {"box": {"normalizer": "sum"}}},
        ("loss", "box", "normalizer"),
    ),
    "unknown scope": ({"name": "textbook", "loss": {"box": {"scope": "row"}}}, ("loss", "box", "scope")),
    "a classification's option elsewhere": (
        {"name": "textbook", "loss": {"box": {"negative_weight": 0}}},
        ("loss", "box", "negative_weight"),
    ),
    "negative weight below zero": (
        {"name": "textbook", "loss": {"classification": {"negative_weight": -1}}},
        ("loss", "classification", "negative_weight"),
    ),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_what_does_not_fit_is_pointed_at(case: str) -> None:
    """One problem, at the path of the option."""
    arguments, path = WRONG[case]

    with pytest.raises(InvalidOptions) as caught:
        resolve(**arguments)  # type: ignore[arg-type]

    assert [problem.path for problem in caught.value.problems] == [path]
