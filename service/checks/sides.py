"""Comparing sides of which some are records: baselines or responses, which hold no inputs."""

import math
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from posneg.service.checks.baseline import FORMAT, Match, Snapshot, restore, snapshot
from posneg.service.checks.compare import Flip, compare
from posneg.service.checks.config import Flips, Tolerances
from posneg.service.checks.report import flip_reason
from posneg.service.engine import answer
from posneg.service.engine import comparison as engine
from posneg.service.errors import Fault, InvalidRequest
from posneg.service.schemas.comparison import ComparisonInput, Recorded, Variant, relocated

Json = dict[str, Any]
Reference = str | int
Number = float | None


def compare_sides(compared: ComparisonInput, *, max_pairs: int | None = None) -> Json:
    """The first side with each other one, explained where all of them hold their inputs.

    Raises `InvalidRequest` with pointers into the whole body.
    """
    variants = [side for side in compared.sides if isinstance(side, Variant)]
    if len(variants) == len(compared.sides):
        return engine.compare(variants, tie_eps=compared.tie_eps, max_pairs=max_pairs)
    runs = [(side, _run(side, max_pairs)) for side in compared.sides]
    (first, a), others = runs[0], runs[1:]
    kept = next(_kind(side) for side in compared.sides if isinstance(side, Recorded))
    tolerances = Tolerances(flips=Flips(tie_eps=compared.tie_eps))
    return {
        "variants": [_overview(side.name, run) for side, run in runs],
        "pairs": [{"a": first.name, "b": side.name, **_pair(a, b, tolerances, kept)} for side, b in others],
    }


def _kind(side: Recorded) -> str:
    return "baseline" if "format" in side.document else "response"


def _overview(name: str, run: Snapshot) -> Json:
    return {
        "name": name,
        "total": run.total,
        "terms": run.terms,
        "counts": run.counts,
        "verdict": run.verdict,
        "resolved": run.resolved,
    }


def _pair(a: Snapshot, b: Snapshot, tolerances: Tolerances, kept: str) -> Json:
    found = compare(a, b, tolerances)
    rows = all(bool(run.images) or not run.counts.get("images") for run in (a, b))
    unavailable = {} if rows else {"flips_unavailable": "a response of detail `summary` has no rows"}
    return {
        "total": _delta(a.total, b.total),
        "terms": {
            name: _delta(*(_value(run, name) for run in (a, b)))
            for name in [*a.terms, *(n for n in b.terms if n not in a.terms)]
        },
        "flips": [_flip(flip) for flip in found.flips],
        **unavailable,
        "explanation": {"unavailable": f"send the request: a {kept} does not hold its inputs"},
    }


def _value(run: Snapshot, term: str) -> Number:
    return run.terms[term]["value"] if term in run.terms else None


def _delta(a: Number, b: Number) -> Json:
    known = a is not None and b is not None and math.isfinite(a) and math.isfinite(b)
    return {"a": a, "b": b, "delta": b - a if known and a is not None and b is not None else None}


def _flip(flip: Flip) -> Json:
    return {
        "image": flip.image,
        "prediction": flip.prediction,
        "prediction_index": flip.prediction_index,
        "reason": flip_reason(flip),
        "tie": flip.tie,
        "a": _outcome(flip.before, absent=flip.absent == "before"),
        "b": _outcome(flip.now, absent=flip.absent == "now"),
    }


def _outcome(match: Match | None, *, absent: bool) -> Json:
    state = "absent" if absent else match.state if match else "negative"
    return {
        "state": state,
        "ground_truth": match.ground_truth if match else None,
        "reason": match.reason if match else None,
        "margin": match.margin if match else None,
    }


def _run(side: Variant | Recorded, max_pairs: int | None) -> Snapshot:
    """What a side is remembered by, whatever it was sent as."""
    if isinstance(side, Recorded):
        return _baseline(side) if "format" in side.document else _response(side)
    try:
        return snapshot(side.name, {}, answer(side.request, loss=True, max_pairs=max_pairs))
    except InvalidRequest as problem:
        raise relocated(problem, side.place) from problem


def _baseline(side: Recorded) -> Snapshot:
    written_as = side.document["format"]
    if written_as != FORMAT:
        detail = f"{written_as!r} is not the format that is read here, {FORMAT}; record it again"
        raise InvalidRequest.at(side.place("/format"), detail[:200], "incompatible_baseline")
    return _checked(side, lambda: restore(side.document))


def _response(side: Recorded) -> Snapshot:
    def read() -> Snapshot:
        images = _Response.model_validate(side.document).images
        rows = all(image.predictions is not None and image.ground_truth is not None for image in images)
        return snapshot(side.name, {}, side.document if rows else {**side.document, "images": []})

    return _checked(side, read)


def _checked(side: Recorded, read: Callable[[], Snapshot]) -> Snapshot:
    try:
        return read()
    except ValidationError as error:
        faults = [
            Fault(side.place("".join(f"/{step}" for step in fault["loc"])), fault["msg"], "wrong_type")
            for fault in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidRequest(f"{side.name} is no intact {_kind(side)}", faults=faults) from None


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)

    index: int
    id: Reference | None
    state: Literal["positive", "negative", "ignored"]
    reason: str | None
    margin: Number
    target: Number = None
    ground_truth: Reference | None = None
    ground_truth_index: int | None = None
    nearest: Reference | None = None
    nearest_index: int | None = None


class _Box(BaseModel):
    model_config = ConfigDict(strict=True)

    index: int
    id: Reference | None


class _Image(BaseModel):
    model_config = ConfigDict(strict=True)

    id: Reference
    predictions: list[_Row] | None = None
    ground_truth: list[_Box] | None = None


class _Normalizer(BaseModel):
    name: str
    used: Number


class _Term(BaseModel):
    model_config = ConfigDict(strict=True)

    value: Number
    raw: Number
    weight: Number
    positive: Number
    negative: Number
    normalizer: _Normalizer
    available: bool = True


class _Response(BaseModel):
    """What of a response of /v1/losses is compared; its rows are there unless `detail` was `summary`."""

    model_config = ConfigDict(strict=True)

    total: Number
    terms: dict[str, _Term]
    counts: dict[str, int]
    verdict: Literal["ok", "vacuous", "nonfinite"]
    resolved: dict[str, Any]
    images: list[_Image]
