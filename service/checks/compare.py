"""What moved between two runs of a case: terms, counts, matches, and the recipe behind them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from posneg.service.checks.baseline import Image, Match, Reference, Snapshot
from posneg.service.checks.config import Tolerance, Tolerances

NUMBERS = ("value", "positive", "negative", "raw", "weight", "normalizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class TermMove:
    """One term on both sides; `changes` names what moved, `exact` says that nothing differs at all."""

    name: str
    baseline: float | None
    now: float | None
    tolerance: Tolerance
    changes: tuple[str, ...]
    exact: bool

    @property
    def moved(self) -> bool:
        """Whether a number is further away than the tolerance, or the term came or went."""
        return bool(self.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A prediction that changed its state or its box. None: the run kept nothing of it, a clear negative."""

    image: Reference
    prediction: Reference
    prediction_index: int
    before: Match | None
    now: Match | None
    absent: str | None  # "before" or "now": the run that had no such prediction
    tie: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a case may have moved: the link of the chain that changed, and how."""

    link: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that differs between a baseline and now."""

    verdicts: tuple[str, str]
    terms: tuple[TermMove, ...]
    counts: dict[str, tuple[int | None, int | None]]
    images: tuple[str, ...]
    flips: tuple[Flip, ...]
    parameters: tuple[Cause, ...]
    inputs: tuple[Cause, ...] = field(default=())
    causes: tuple[Cause, ...] = field(default=())
    flips_allowed: int = 0
    inputs_exact: bool = True

    @property
    def assignment_moved(self) -> bool:
        """Whether predictions changed sides beyond what is allowed, or there are other rows than before."""
        clear = sum(not flip.tie for flip in self.flips)
        return clear > self.flips_allowed or bool(self.counts) or bool(self.images)

    @property
    def verdict_moved(self) -> bool:
        """Whether the runs were judged differently, or either met values that are equal to nothing."""
        return self.verdicts[0] != self.verdicts[1] or "nonfinite" in self.verdicts

    @property
    def moved(self) -> bool:
        """The verdict: a number, the assignment, the recipe or the inputs are not what the baseline says."""
        numbers = self.verdict_moved or any(term.moved for term in self.terms)
        inputs = self.inputs_exact and bool(self.inputs)
        return numbers or self.assignment_moved or bool(self.parameters) or inputs

    @property
    def differs(self) -> bool:
        """Whether anything at all is different, however small and whatever is allowed."""
        return (
            self.moved or bool(self.flips) or bool(self.causes) or any(not term.exact for term in self.terms)
        )


def compare(baseline: Snapshot, now: Snapshot, tolerances: Tolerances) -> Comparison:
    """Compare a fresh run with the one that was recorded; neither direction counts as better."""
    flips = sorted(_flips(baseline, now, tolerances.flips.tie_eps), key=lambda flip: flip.tie)
    parameters = tuple(_parameter_changes(baseline.resolved, now.resolved))
    inputs = tuple(_input_changes(baseline, now))
    names = sorted(baseline.terms.keys() | now.terms.keys())
    return Comparison(
        verdicts=(baseline.verdict, now.verdict),
        terms=tuple(_term(n, baseline.terms.get(n), now.terms.get(n), tolerances.of(n)) for n in names),
        counts=_differences(baseline.counts, now.counts),
        images=tuple(_image_changes(baseline.images, now.images)),
        flips=tuple(flips),
        parameters=parameters,
        inputs=inputs,
        causes=(*inputs, *parameters, *_semantics_changes(baseline, now)),
        flips_allowed=tolerances.flips.max,
        inputs_exact=tolerances.inputs == "exact",
    )


def _term(
    name: str, before: dict[str, Any] | None, now: dict[str, Any] | None, tolerance: Tolerance
) -> TermMove:
    if before is None or now is None:
        changes: tuple[str, ...] = ("added" if before is None else "removed",)
    else:
        changes = tuple(_number_changes(before, now, tolerance))
    return TermMove(
        name=name,
        baseline=before["value"] if before else None,
        now=now["value"] if now else None,
        tolerance=tolerance,
        changes=changes,
        exact=before == now and not changes,
    )


def _number_changes(before: dict[str, Any], now: dict[str, Any], tolerance: Tolerance) -> Iterator[str]:
    available = before.get("available", True), now.get("available", True)
    if available[0] != available[1]:
        yield "no longer available" if available[0] else "newly available"
        return
    if before["normalizer"].get("name") != now["normalizer"].get("name"):
        yield f"normalizer {before['normalizer'].get('name')} → {now['normalizer'].get('name')}"
    for number in NUMBERS:
        a, b = (side[number]["used"] if number == "normalizer" else side[number] for side in (before, now))
        if not available[0] and a is None and b is None:
            continue
        if not _finite(a) or not _finite(b):
            yield f"{number} is not finite"
        elif not tolerance.allows(a, b):
            yield number if number == "value" else f"{number} {a:.6g} → {b:.6g}"


def _finite(number: float | None) -> bool:
    return number is not None and math.isfinite(number)


def _differences(before: dict[str, int], now: dict[str, int]) -> dict[str, tuple[int | None, int | None]]:
    pairs = {name: (before.get(name), now.get(name)) for name in sorted(before.keys() | now.keys())}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _image_changes(before: tuple[Image, ...], now: tuple[Image, ...]) -> Iterator[str]:
    old, new = {i.id: i for i in before}, {i.id: i for i in now}
    yield from (f"image {i!r} removed" for i in old if i not in new)
    yield from (f"image {i!r} added" for i in new if i not in old)
    for identity, a in old.items():
        b = new.get(identity, a)
        for what, x, y in (
            ("ground truths", a.ground_truth, b.ground_truth),
            ("predictions", a.predictions, b.predictions),
        ):
            if x != y:
                yield f"image {identity!r}: {what} {x} → {y}"


def _flips(baseline: Snapshot, now: Snapshot, tie_eps: float) -> Iterator[Flip]:
    new = {image.id: image for image in now.images}
    for image in baseline.images:
        if image.id in new:
            yield from _image_flips(image, new[image.id], tie_eps)


def _image_flips(before: Image, now: Image, tie_eps: float) -> Iterator[Flip]:
    by_id = before.predictions_by == now.predictions_by == "id"
    box_by_id = before.ground_truth_by == now.ground_truth_by == "id"
    old, new = _by_key(before, by_id), _by_key(now, by_id)
    for key in sorted(old.keys() | new.keys(), key=lambda k: (new.get(k) or old[k]).prediction_index):
        a, b = old.get(key), new.get(key)
        if _outcome(a, box_by_id) == _outcome(b, box_by_id):
            continue
        match = b or a
        assert match is not None, "a key comes from one of the two sides"
        yield Flip(
            image=before.id,
            prediction=match.prediction,
            prediction_index=match.prediction_index,
            before=a,
            now=b,
            absent=_absent(a, b, before, by_id),
            tie=_is_tie(a, tie_eps) and _is_tie(b, tie_eps),
        )


def _by_key(image: Image, by_id: bool) -> dict[Reference, Match]:
    return {(m.prediction if by_id else m.prediction_index): m for m in image.matches}


def _outcome(match: Match | None, box_by_id: bool) -> tuple[str, Reference | None]:
    if match is None or match.state == "negative":
        return "negative", None
    return match.state, match.ground_truth if box_by_id else match.ground_truth_index


def _absent(a: Match | None, b: Match | None, before: Image, by_id: bool) -> str | None:
    """The side without the prediction. A fresh run keeps every row; a baseline counts its clear negatives."""
    if b is None:
        return "now"
    return "before" if a is None and not by_id and b.prediction_index >= before.predictions else None


def _is_tie(match: Match | None, tie_eps: float) -> bool:
    return match is not None and match.margin is not None and abs(match.margin) < tie_eps


def _input_changes(baseline: Snapshot, now: Snapshot) -> Iterator[Cause]:
    for link in ("ground_truth", "predictions"):
        if baseline.inputs.get(link) != now.inputs.get(link):
            yield Cause(link=link, detail=f"inputs changed: {link.replace('_', ' ')}")


def _parameter_changes(before: dict[str, Any], now: dict[str, Any]) -> Iterator[Cause]:
    """Parameters that both runs know and that differ; one that only a newer version has is no change."""
    for name in ("preset", "dtype", "assigner", "loss"):
        link = "assignment" if name == "assigner" else "formula"
        for path, a, b in _leaves(name, before.get(name), now.get(name)):
            yield Cause(link=link, detail=f"{path} {_shown(a)} → {_shown(b)}")


def _leaves(path: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401 - any JSON
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() & now.keys()):
            yield from _leaves(f"{path}.{key}", before[key], now[key])
    elif before != now:
        yield path, before, now


def _shown(value: Any) -> str:  # noqa: ANN401 - any JSON
    return value if isinstance(value, str) else repr(value)


def _semantics_changes(baseline: Snapshot, now: Snapshot) -> Iterator[Cause]:
    before, after = baseline.resolved.get("semantics", {}), now.resolved.get("semantics", {})
    for name, (a, b) in _differences(before, after).items():
        if a is not None and b is not None:
            yield Cause(link="semantics", detail=f"semantics {name} {a} → {b}")
