"""What a check found, case by case, and how it is told: as JSON, as Markdown, as an exit code."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from posneg.service.checks import forms
from posneg.service.checks.baseline import Match
from posneg.service.checks.compare import Comparison, Flip, TermMove
from posneg.service.errors import BaselineIncompatible, BaselineMissing, ServiceError, Unavailable

FailOn = Literal["moved", "assignment", "any"]
PRECEDENCE = (2, 5, 3, 4, 6, 1)  # where several exit codes apply, the first of these


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReport:
    """One case: what its comparison found, or the problem that kept it from being compared."""

    name: str
    comparison: Comparison | None = None
    problem: ServiceError | None = None

    @property
    def verdict(self) -> str:
        """`same`, `moved`, `incompatible` or `inconclusive`."""
        if self.comparison is None:
            return "incompatible" if isinstance(self.problem, BaselineIncompatible) else "inconclusive"
        return "moved" if self.comparison.moved else "same"

    @property
    def exit_code(self) -> int:
        """The exit code that the problem stands for; 0 where there is none."""
        kinds: dict[type[ServiceError], int] = {Unavailable: 5, BaselineMissing: 3, BaselineIncompatible: 4}
        return 0 if self.problem is None else kinds.get(type(self.problem), 2)

    def fails(self, fail_on: FailOn) -> bool:
        """Whether what was found is what the caller wants to fail on."""
        if self.comparison is None:
            return False
        wanted = {"moved": "moved", "assignment": "assignment_moved", "any": "differs"}[fail_on]
        return bool(getattr(self.comparison, wanted))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Every case of a check, and the baseline files that no case names."""

    cases: tuple[CaseReport, ...]
    stale: tuple[str, ...] = ()

    @property
    def compared(self) -> int:
        """How many cases were compared with their baseline."""
        return sum(case.comparison is not None for case in self.cases)

    @property
    def verdict(self) -> str:
        """The verdict of all cases together; nothing compared is never `same`."""
        verdicts = {case.verdict for case in self.cases}
        found = (v for v in ("incompatible", "inconclusive", "moved") if v in verdicts)
        return next(found, "same" if self.compared else "inconclusive")

    def exit_code(self, fail_on: FailOn = "moved", *, informational: bool = False) -> int:
        """The process's exit code; `informational` reports a move without failing for it."""
        codes = {case.exit_code for case in self.cases}
        codes |= {3} if self.stale else set()
        codes |= {6} if not self.compared else set()
        codes |= {1} if not informational and any(case.fails(fail_on) for case in self.cases) else set()
        return next((code for code in PRECEDENCE if code in codes), 0)

    def to_json(self) -> dict[str, Any]:
        """The report as `POST /v1/checks` answers it."""
        return {
            "verdict": self.verdict,
            "compared": self.compared,
            "cases": [_case_json(case) for case in self.cases],
            "stale": list(self.stale),
        }


def _case_json(case: CaseReport) -> dict[str, Any]:
    body: dict[str, Any] = {"name": case.name, "verdict": case.verdict, "terms": [], "flips": []}
    if case.problem:
        problem = case.problem
        faults = [{"pointer": f.pointer, "detail": f.detail, "code": f.code} for f in problem.faults]
        body["problem"] = {"code": problem.code, "detail": problem.detail, "errors": faults}
    if found := case.comparison:
        counts = [{"name": n, "baseline": a, "now": b} for n, (a, b) in found.counts.items()]
        causes = [{"link": cause.link, "detail": cause.detail} for cause in found.causes]
        body |= {
            "terms": [_term_json(term) for term in found.terms],
            "flips": [_flip_json(flip) for flip in found.flips],
            "verdicts": {"baseline": found.verdicts[0], "now": found.verdicts[1]},
            "counts": counts,
            "images": list(found.images),
            "explanation": {"causes": causes},
        }
    return body


def _term_json(term: TermMove) -> dict[str, Any]:
    return {
        "name": term.name,
        "baseline": term.baseline,
        "now": term.now,
        "delta": delta(term),
        "tolerance": {"rtol": term.tolerance.rtol, "atol": term.tolerance.atol},
        "moved": term.moved,
        "changes": list(term.changes),
    }


def delta(term: TermMove) -> float | None:
    """How far the term's value went, with its sign; None where a side has no number."""
    return None if term.now is None or term.baseline is None else term.now - term.baseline


def _flip_json(flip: Flip) -> dict[str, Any]:
    return {
        "image": flip.image,
        "prediction": flip.prediction,
        "prediction_index": flip.prediction_index,
        "reason": flip_reason(flip),
        "tie": flip.tie,
        "baseline": _side_json(flip, "before", flip.before),
        "now": _side_json(flip, "now", flip.now),
    }


def _side_json(flip: Flip, side: str, match: Match | None) -> dict[str, Any]:
    return {
        "state": "absent" if flip.absent == side else match.state if match else "negative",
        "ground_truth": match.ground_truth if match else None,
        "reason": match.reason if match else None,
        "margin": match.margin if match else None,
    }


def flip_reason(flip: Flip) -> str:
    """Why it stands where it stands now; `TIE` where both runs decided it by less than the tie's margin."""
    if flip.tie:
        return "TIE"
    return (flip.now.reason if flip.now else None) or "ABSENT"


def flip_line(flip: Flip) -> str:
    """One flip in one line: both sides with reason and margin."""
    return forms.flip_line(_flip_json(flip))


def as_json(report: Report) -> str:
    """The report for machines."""
    return json.dumps(report.to_json(), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def as_markdown(report: Report) -> str:
    """The report for a pull request's comment."""
    return forms.markdown(report.to_json())


def as_junit(report: Report) -> str:
    """The report for a CI's list of tests."""
    return forms.junit(report.to_json())


def notes(case: CaseReport) -> Iterator[str]:
    """What there is to say of a compared case besides its terms and flips."""
    return forms.notes(_case_json(case))


FORMS: dict[str, tuple[str, Callable[[Report], str]]] = {
    "md": ("md", as_markdown),
    "json": ("json", as_json),
    "junit": ("xml", as_junit),
}
"""Form → the ending of its file, and what writes it."""
