"""Why a term moved: the links of its chain whose own rule gives another answer from the first run's input.

What moved most need not be why: a lost positive moves the divisor of every row.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from posneg.models.criterion import assign, normalization_of
from posneg.models.explain.mixture import Pair, Run, formula_of, weights_of
from posneg.models.explain.parts import ROUNDING, Outcomes
from posneg.models.explain.slots import Links
from posneg.models.recipe import Recipe
from posneg.models.terms import Matched
from posneg.models.types import Assignment

Link = Literal["ground_truth", "predictions", "assignment", "normalizer", "weights", "formula"]
REORDERED = "the same boxes and predictions in another order, by which the assigner settles what is equal"
DIVISOR_ROUNDING = 1e-9
"""Relative; sums in another order differ by less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A link that changed, and how; `term` where it is one term's alone."""

    link: Link
    detail: str
    term: str | None = None


def causes(pair: Pair, found: Outcomes) -> list[Cause]:
    """The links that changed between two runs, in the order of the chain.

    Where none did and predictions still changed sides, equal rows came in another order.
    """
    listed = [
        *_input_causes(pair),
        *_assignment_causes(pair, found),
        *(c for name in _common(pair) for c in _normalizer_causes(pair, name)),
        *(c for name in _common(pair) for c in _parameter_causes(pair, name, "weights")),
        *(c for name in _common(pair) for c in _parameter_causes(pair, name, "formula")),
        *(c for name in _common(pair) for c in _report_causes(pair, name)),
        *_term_causes(pair),
    ]
    if not listed and bool(found.flipped.any()):
        return [Cause(link="predictions", detail=REORDERED)]
    return listed


def normalizer_holds(pair: Pair, name: str) -> bool:
    """Whether run b's rule counts what run a divided by, from a's own ground truth and assignment."""
    a, b = pair.runs
    matched = Matched.of(b.recipe, a.readings[1].batch, a.assignment, a.breakdown.targets.detach())
    counted = normalization_of(b.recipe.terms[name], matched, b.recipe).used.double()
    images = len(a.divisor(name))
    now = counted * images if b.recipe.terms[name].scope == "image" else counted.expand(images)
    return bool(torch.isclose(now, a.divisor(name), rtol=DIVISOR_ROUNDING, atol=0).all())


def differences(path: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    """Each parameter that both have and that differs, as `path.name old → new`."""
    for name in a:
        if name not in b or a[name] == b[name]:
            continue
        if isinstance(a[name], Mapping) and isinstance(b[name], Mapping):
            yield from differences(f"{path}.{name}", a[name], b[name])
        else:
            yield f"{path}.{name} {_shown(a[name])} → {_shown(b[name])}"


def _common(pair: Pair) -> list[str]:
    a, b = pair.runs
    return [name for name in a.recipe.terms if name in b.recipe.terms]


def _input_causes(pair: Pair) -> Iterator[Cause]:
    images = pair.slots.images
    detail = _counted("image", 0, int((images[1] < 0).sum()), int((images[0] < 0).sum()))
    if detail := [*detail, *_told("box", pair.slots.ground_truth)]:
        yield Cause(link="ground_truth", detail=", ".join(detail))
    if detail := _told("prediction", pair.slots.predictions):
        yield Cause(link="predictions", detail=", ".join(detail))


def _told(kind: str, links: Links) -> list[str]:
    return _counted(kind, links.changed, links.removed, links.added)


def _counted(kind: str, changed: int, removed: int, added: int) -> list[str]:
    plural = {"box": "boxes"}.get(kind, f"{kind}s")
    counts = (("changed", changed), ("removed", removed), ("added", added))
    return [f"{number} {kind if number == 1 else plural} {verb}" for verb, number in counts if number]


def _assignment_causes(pair: Pair, found: Outcomes) -> Iterator[Cause]:
    """Run b's assigner gives run a's input another assignment than run a had."""
    a, b = pair.runs
    same_rules = a.recipe == b.recipe and a.breakdown.total.dtype == b.breakdown.total.dtype
    if same_rules or not _reassigns(pair, found):
        return
    details = list(_assigner_differences(a, b))
    for detail in details or ["the same assigner answers otherwise: its draw or precision follows the loss"]:
        yield Cause(link="assignment", detail=detail)


def _reassigns(pair: Pair, found: Outcomes) -> bool:
    """Whether run b's assigner, given run a's input, assigns otherwise than run a did."""
    a, b = pair.runs
    if pair.slots.inputs_equal:
        return _assigned_otherwise(
            a.assignment, b.assignment, bool(found.flipped.any() or found.retargeted.any())
        )
    batch = a.readings[1].batch
    now = assign(b.recipe, batch)
    taken = batch.predictions.finite
    aside = torch.zeros_like(now.positive) if taken is None else ~taken
    positive, ignored = now.positive & ~aside, now.ignored | aside
    targets = Matched.of(b.recipe, batch, now).targets.double()
    before = a.breakdown.targets.detach().double()
    was = a.assignment
    moved = bool((positive != was.positive).any() or (ignored != was.ignored).any())
    both = positive & was.positive
    moved |= bool((now.ground_truth != was.ground_truth)[both].any())
    moved |= bool(((targets - before).abs() > ROUNDING * torch.maximum(targets, before))[both].any())
    return _assigned_otherwise(was, now, moved)


def _assigned_otherwise(a: Assignment, b: Assignment, moved: bool) -> bool:
    if moved or (a.times is None and b.times is None):
        return moved
    ones = torch.ones_like(a.ground_truth) if a.times is None else a.times
    others = torch.ones_like(b.ground_truth) if b.times is None else b.times
    return len(ones) == len(others) and bool((ones != others).any())


def _assigner_differences(a: Run, b: Run) -> Iterator[str]:
    yield from differences("assigner", _assigner(a.recipe), _assigner(b.recipe))
    sampled = a.recipe.sampled_term
    if sampled == b.recipe.sampled_term:
        ours, theirs = (
            {"target": term.target, "negatives": term.negatives}
            for term in (a.recipe.terms[sampled], b.recipe.terms[sampled])
        )
        yield from differences(f"loss.{sampled}", ours, theirs)
    if a.breakdown.total.dtype != b.breakdown.total.dtype:
        yield f"dtype {_shown(a.breakdown.total.dtype)} → {_shown(b.breakdown.total.dtype)}"


def _assigner(recipe: Recipe) -> dict[str, Any]:
    return {"name": recipe.assigner, **recipe.assigner_options}


def _normalizer_causes(pair: Pair, name: str) -> Iterator[Cause]:
    if normalizer_holds(pair, name):
        return
    ours, theirs = (
        {"normalizer": term.normalizer, "scope": term.scope}
        for term in (run.recipe.terms[name] for run in pair.runs)
    )
    rule = theirs["normalizer"]
    details = list(differences(f"loss.{name}", ours, theirs))
    for detail in details or [
        f"loss.{name}.normalizer: {rule} counts otherwise, since what it counts by changed"
    ]:
        yield Cause(link="normalizer", detail=detail, term=name)


def _parameter_causes(pair: Pair, name: str, link: Literal["weights", "formula"]) -> Iterator[Cause]:
    listed = weights_of if link == "weights" else formula_of
    ours, theirs = (listed(run, name) for run in pair.runs)
    for detail in differences(f"loss.{name}", ours, theirs):
        yield Cause(link=link, detail=detail, term=name)


def _report_causes(pair: Pair, name: str) -> Iterator[Cause]:
    """A run that reported what today's code does not give for its ingredients."""
    for run, side in zip(pair.runs, "ab", strict=True):
        now, told = run.breakdown.terms[name].value.item(), run.value(name)
        if name in run.reported and not abs(now - told) <= DIVISOR_ROUNDING * max(1.0, abs(now)):
            detail = f"{name} was reported as {told!r} in {side}; the code of today gives {now!r}"
            yield Cause(link="formula", detail=detail, term=name)


def _term_causes(pair: Pair) -> Iterator[Cause]:
    a, b = (run.recipe.terms for run in pair.runs)
    for name in [*a, *b]:
        if (name in a) != (name in b):
            yield Cause(link="formula", detail=f"term {name} only in {'a' if name in a else 'b'}", term=name)


def _shown(value: object) -> str:
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return value if isinstance(value, str) else repr(value)
