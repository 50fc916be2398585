"""Verdicts, exit codes and forms of a report."""

import json
from itertools import combinations
from pathlib import Path

import pytest

from posneg.service.checks.compare import compare
from posneg.service.checks.config import Tolerances
from posneg.service.checks.report import (
    CaseReport,
    FailOn,
    Report,
    as_json,
    as_markdown,
    flip_line,
)
from posneg.service.errors import (
    BadRequest,
    BaselineIncompatible,
    BaselineMissing,
    InvalidRequest,
    Unavailable,
)
from tests.service.checks.runs import Edit, prediction, put, run

LOST = prediction(0, state="negative", ground_truth=None, reason="RANK_OUT_OF_TOPK", margin=-0.1)
LOOSE = Tolerances.model_validate({"default": {"rtol": 0.1}})


def case(*edits: Edit, tolerances: Tolerances | None = None) -> CaseReport:
    """A case whose run differs from its baseline by some edits."""
    return CaseReport(name="article", comparison=compare(run(), run(*edits), tolerances or Tolerances()))


def failed(problem: type[Exception]) -> CaseReport:
    """A case that could not be compared."""
    return CaseReport(name="article", problem=problem("why"))  # type: ignore[arg-type]


FOUND = {
    2: failed(BadRequest),
    5: failed(Unavailable),
    3: failed(BaselineMissing),
    4: failed(BaselineIncompatible),
    1: case(put("terms.box.value", 55.0)),
    0: case(),
}
ORDER = [2, 5, 3, 4, 6, 1]


@pytest.mark.parametrize("codes", [c for size in (1, 2, 3) for c in combinations(FOUND, size)])
def test_first_of_the_order_wins(codes: tuple[int, ...]) -> None:
    """Where several apply, the first of 2, 5, 3, 4, 6, 1; 6 is among them where nothing was compared."""
    found = Report(cases=tuple(FOUND[code] for code in codes)).exit_code()

    applying = {*codes} | ({6} if not {0, 1} & {*codes} else set())
    assert found == next((code for code in ORDER if code in applying), 0)


def test_malformed_input_is_unreadable_input() -> None:
    """A request that the service refuses exits as one that cannot be read."""
    assert Report(cases=(failed(InvalidRequest),)).exit_code() == 2


def test_nothing_compared_is_inconclusive() -> None:
    """Without cases there is nothing that could be the same."""
    nothing = Report(cases=())

    assert (nothing.verdict, nothing.exit_code(informational=True)) == ("inconclusive", 6)


def test_stale_baseline_is_told() -> None:
    """A file that no case names exits with 3, and comes before a move."""
    report = Report(cases=(FOUND[1],), stale=("baselines/old.json",))

    assert report.exit_code() == 3
    assert "baselines/old.json" in as_markdown(report)
    assert report.to_json()["stale"] == ["baselines/old.json"]


@pytest.mark.parametrize(
    ("found", "fail_on", "code"),
    [
        (case(), "any", 0),
        (case(put("terms.box.value", 55.0)), "moved", 1),
        (case(put("terms.box.value", 55.0)), "assignment", 0),
        (case(put("terms.box.value", 55.0)), "any", 1),
        (case(put("terms.box.value", 54.5), tolerances=LOOSE), "moved", 0),
        (case(put("terms.box.value", 54.5), tolerances=LOOSE), "any", 1),
        (case(LOST), "moved", 1),
        (case(LOST), "assignment", 1),
        (case(put("counts.positive", 2)), "assignment", 1),
        (case(put("resolved.semantics.task_aligned", 2)), "moved", 0),
        (case(put("resolved.semantics.task_aligned", 2)), "any", 1),
    ],
)
def test_fail_on(found: CaseReport, fail_on: FailOn, code: int) -> None:
    """`moved` is the verdict, `assignment` looks at matches and counts, `any` at the slightest difference."""
    assert Report(cases=(found,)).exit_code(fail_on) == code


def test_informational_only_forgives_a_move() -> None:
    """Everything else still fails: a check that did not run must not pass for one that did."""
    for code, found in FOUND.items():
        assert Report(cases=(found,)).exit_code(informational=True) == (0 if code == 1 else code)


def test_verdict_of_all_cases() -> None:
    """The gravest verdict is the report's."""
    assert Report(cases=(FOUND[0], FOUND[1])).verdict == "moved"
    assert Report(cases=(FOUND[0], FOUND[1], FOUND[3])).verdict == "inconclusive"
    assert Report(cases=(FOUND[3], FOUND[4])).verdict == "incompatible"
    assert Report(cases=(FOUND[0],)).verdict == "same"


def test_flip_is_told_in_one_line() -> None:
    """Image, prediction, both sides with reason and margin, and why it stands where it stands now."""
    comparison = case(LOST).comparison
    assert comparison is not None

    assert flip_line(comparison.flips[0]) == (
        "image 'street-1', prediction 'A': positive (ground truth 'GT1', TOP_K, margin 0.1667) → "
        "negative (RANK_OUT_OF_TOPK, margin -0.1)  RANK_OUT_OF_TOPK"
    )


def test_json_is_what_the_contract_names() -> None:
    """Strict JSON with verdict, cases, terms, flips, explanation and the number of cases compared."""
    moved = case(put("terms.box.value", 55.0), LOST, put("resolved.assigner.topk", 10))
    told = json.loads(as_json(Report(cases=(moved, FOUND[2]))), parse_constant=pytest.fail)

    first, second = told["cases"]
    assert (told["verdict"], told["compared"]) == ("inconclusive", 1)
    assert (first["name"], first["verdict"]) == ("article", "moved")
    assert first["terms"][0] == {
        "name": "box",
        "baseline": 54.0,
        "now": 55.0,
        "delta": 1.0,
        "tolerance": {"rtol": 1e-9, "atol": 0.0},
        "moved": True,
        "changes": ["value"],
    }
    assert first["flips"][0]["reason"] == "RANK_OUT_OF_TOPK"
    assert first["flips"][0]["baseline"]["state"] == "positive"
    assert first["explanation"]["causes"] == [{"link": "assignment", "detail": "assigner.topk 13 → 10"}]
    assert second["problem"]["detail"] == "why"


def test_markdown_tells_terms_flips_and_causes(tmp_path: Path) -> None:
    """One table a case, one line a flip, one a cause."""
    moved = case(put("terms.box.value", 55.0), LOST, put("resolved.assigner.topk", 10))

    text = as_markdown(Report(cases=(moved, FOUND[2])))

    assert "| box | 54 | 55 | 1 | value |" in text
    assert "- cause: assigner.topk 13 → 10" in text
    assert "RANK_OUT_OF_TOPK" in text
    assert "why" in text
