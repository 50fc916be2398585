"""Comparisons for tests: two requests or variants in, one pair out, and the laws that every pair obeys."""

import json
from typing import Any

import pytest

from posneg.service.engine.comparison import compare
from posneg.service.schemas.comparison import Variant
from posneg.service.schemas.losses import parse

Json = dict[str, Any]
PARTS = ("ground_truth", "predictions", "assignment", "normalizer", "weights", "formula")


def variant(name: str, request: Json) -> Variant:
    """A request as JSON, under a name."""
    return Variant(name=name, request=parse(json.dumps(request).encode()))


def compared(a: Json, b: Json, *, tie_eps: float = 1e-9) -> Json:
    """The answer to a comparison of two requests."""
    return compare([variant("a", a), variant("b", b)], tie_eps=tie_eps)


def explained(a: Json, b: Json, **options: Any) -> Json:
    """The explanation of the move from one request to another."""
    explanation: Json = compared(a, b, **options)["pairs"][0]["explanation"]
    return explanation


def scale(answer: Json, term: str) -> float:
    """What a tolerance is relative to."""
    values = [v["terms"][term]["value"] for v in answer["variants"] if term in v["terms"]]
    return max(1.0, *map(abs, values))


def obeys_the_laws(a: Json, b: Json) -> Json:
    """Parts close, backwards is the negative, rows sum to parts; gives the explanation.

    In another precision than float64 the last two hold to rounding.
    """
    there, back = compared(a, b), compared(b, a)
    forth, counter = (answer["pairs"][0]["explanation"] for answer in (there, back))
    if "unavailable" in forth:
        assert counter == forth
        return forth
    assert forth["terms"].keys() == counter["terms"].keys()
    for name, term in forth["terms"].items():
        close = 1e-9 * scale(there, name)
        loose = close if a.get("dtype") == b.get("dtype") is None else 1e-5 * scale(there, name)
        sides = [v["terms"].get(name, {"value": 0.0})["value"] for v in there["variants"]]
        assert term["delta"] == pytest.approx(sides[1] - sides[0], abs=close)
        assert ("unavailable" in term) == ("unavailable" in counter["terms"][name])
        if "unavailable" in term:
            continue
        assert sum(term[part] for part in PARTS) == pytest.approx(term["delta"], abs=close)
        both = term["assignment_matches"] + term["assignment_targets"]
        assert both == pytest.approx(term["assignment"], abs=close)
        for part in (*PARTS, "assignment_matches", "assignment_targets"):
            assert term[part] == pytest.approx(-counter["terms"][name][part], abs=loose), (name, part)
        if not forth["rows_left_out"]:
            for part in PARTS:
                told = [r["value"] for r in forth["rows"] if (r["term"], r["part"]) == (name, part)]
                assert sum(told) == pytest.approx(term[part], abs=loose), (name, part)
    return forth


def differs_in(explanation: Json) -> set[str]:
    """The ingredients whose part is not exactly 0, over all terms."""
    terms = [t for t in explanation.get("terms", {}).values() if "unavailable" not in t]
    return {part for term in terms for part in PARTS if term[part] != 0.0}
