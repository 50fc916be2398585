"""The body of POST /v1/comparisons to what it compares: two sides, or variants of one input."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from posneg.service.errors import InvalidRequest
from posneg.service.schemas.faults import Faults, shown
from posneg.service.schemas.loss_input import Dtype, LossInput
from posneg.service.schemas.loss_request import EXAMPLE as LOSS_EXAMPLE
from posneg.service.schemas.loss_request import LossRequest, Strict
from posneg.service.schemas.losses import interpret
from posneg.service.schemas.options import options

Json = dict[str, Any]
MAX_VARIANTS = 16
MAX_FLIPS = 10_000
MAX_ROWS = 100
TIE_EPS = 1e-9
LARGEST_TIE_EPS = 1e-3
OWN = ("preset", "assigner", "loss", "head", "dtype")
RECORDED = {"format", "terms", "total", "resolved", "verdict"}
"""Fields of a baseline or a response; a request has none of them."""

EXAMPLE: Json = {
    **{name: LOSS_EXAMPLE[name] for name in ("images", "classes")},
    "variants": [
        {"name": "strict", "preset": "textbook"},
        {"name": "lenient", "preset": "textbook", "assigner": {"min_iou": 0.3}},
    ],
}
ANSWER_EXAMPLE: Json = json.loads((Path(__file__).parent / "article_comparison.json").read_text())
"""The answer to `EXAMPLE`."""


class VariantOptions(Strict):
    """One way to match and weigh the shared images: what it says is laid over what the body says."""

    name: str = Field(description="What the answer calls it.", max_length=200)
    preset: str | None = None
    assigner: dict[str, Any] = Field(default_factory=dict)
    loss: dict[str, dict[str, Any]] = Field(default_factory=dict)
    head: str | None = None
    dtype: Dtype | None = None


class ComparisonRequest(LossRequest):
    """Two sides `a` and `b`, or the fields of a loss request with `variants` of its recipe."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"example": EXAMPLE})

    a: Annotated[dict[str, Any] | None, SkipValidation] = Field(
        None, description="A request of /v1/losses, a baseline as `posneg record` writes it, or a response."
    )
    b: Annotated[dict[str, Any] | None, SkipValidation] = Field(None, description="As `a`.")
    variants: Annotated[list[VariantOptions], Field(min_length=2, max_length=MAX_VARIANTS)] | None = Field(
        None, description="Each is compared with the first."
    )
    tie_eps: float = Field(
        TIE_EPS,
        ge=0,
        le=LARGEST_TIE_EPS,
        description="A flip that either side decided by a smaller relative margin is a tie.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A request under a name; `place` leads from a pointer into the request to one into the body.

    `observed` are values of terms that somebody else's code printed for it: they count in place of ours.
    """

    name: str
    request: LossInput
    place: Callable[[str], str] = str
    observed: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A side without its inputs: the document of a baseline or of a response."""

    name: str
    document: Json
    place: Callable[[str], str] = str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonInput:
    """What is compared: the first side with each of the others."""

    sides: list[Variant | Recorded]
    tie_eps: float


def interpret_comparison(document: Any) -> ComparisonInput:  # noqa: ANN401 - any JSON value
    """What a body compares; raises `InvalidRequest` with a pointer to each bad element of either side."""
    faults = Faults()
    if type(document) is not dict:
        faults.wrong_type("", document, "an object with `a` and `b`, or with `variants`")
        faults.raise_if_any()
    tie_eps = _tie_eps(document, faults)
    sides = (_variants if document.get("variants") is not None else _two)(document, faults)
    faults.raise_if_any()
    return ComparisonInput(sides=sides, tie_eps=tie_eps)


def relocated(problem: InvalidRequest, place: Callable[[str], str]) -> InvalidRequest:
    """A problem of one side as a problem of the whole body."""
    moved = [replace(fault, pointer=place(fault.pointer)) for fault in problem.faults]
    return InvalidRequest(problem.detail, faults=moved, faults_total=problem.faults_total)


def _tie_eps(document: Json, faults: Faults) -> float:
    given = document.get("tie_eps")
    if given is None:
        return TIE_EPS
    if type(given) not in (int, float):
        faults.wrong_type("/tie_eps", given, "a number")
    elif not 0 <= given <= LARGEST_TIE_EPS:
        faults.add("/tie_eps", f"{shown(given)} is not in 0..{LARGEST_TIE_EPS}", "out_of_range")
    else:
        return float(given)
    return TIE_EPS


def _two(document: Json, faults: Faults) -> list[Variant | Recorded]:
    """The sides `a` and `b`."""
    faults.unknown_fields("", document, ("a", "b", "variants", "tie_eps"))
    sides = [_side(name, document, faults) for name in ("a", "b")]
    return [side for side in sides if side is not None]


def _side(name: str, document: Json, faults: Faults) -> Variant | Recorded | None:
    given = document.get(name)

    def place(pointer: str) -> str:
        return f"/{name}{pointer}"

    if given is None:
        faults.missing(f"/{name}", "send `a` and `b`, or `variants` of one input")
        return None
    if type(given) is dict and given.keys() & RECORDED:
        return _recorded(name, given, place, faults)
    try:
        return Variant(name=name, request=interpret(given), place=place)
    except InvalidRequest as problem:
        _take(relocated(problem, place), faults)
        return None


def _recorded(name: str, given: Json, place: Callable[[str], str], faults: Faults) -> Recorded | None:
    """A record, once it is known that the answer can echo its numbers."""
    try:
        orjson.dumps(given)
    except TypeError as error:
        faults.add(place(""), f"cannot be echoed: {error}", "out_of_range")
        return None
    return Recorded(name=name, document=given, place=place)


def _variants(document: Json, faults: Faults) -> list[Variant | Recorded]:
    """The shared images, read once, under each variant's recipe."""
    given = document["variants"]
    shared = {name: value for name, value in document.items() if name not in ("variants", "tie_eps")}
    if type(given) is not list or not 2 <= len(given) <= MAX_VARIANTS:
        faults.wrong_type("/variants", given, f"a list of 2 to {MAX_VARIANTS} variants")
        return []
    try:
        base = interpret(shared)
    except InvalidRequest as problem:
        _take(problem, faults)
        return []
    found = [_variant(n, one, shared, base, faults) for n, one in enumerate(given)]
    names = [variant.name for variant in found if variant]
    for number, variant in enumerate(found):
        if variant and names.index(variant.name) != number and len(names) == len(found):
            faults.add(f"/variants/{number}/name", f"{shown(variant.name)} is taken", "duplicate")
    return [variant for variant in found if variant]


def _variant(
    number: int,
    given: Any,  # noqa: ANN401 - any JSON value
    shared: Json,
    base: LossInput,
    faults: Faults,
) -> Variant | None:
    pointer = f"/variants/{number}"
    if type(given) is not dict:
        faults.wrong_type(pointer, given, "an object such as {'name': 'a', 'preset': 'textbook'}")
        return None
    faults.unknown_fields(pointer, given, ("name", *OWN))
    name = given.get("name", str(number))
    if type(name) is not str:
        faults.wrong_type(f"{pointer}/name", name, "a name")
        return None
    own = {key: value for key, value in given.items() if key in OWN and value is not None}

    def place(inside: str) -> str:
        return f"{pointer}{inside}" if inside.split("/")[1:2] and inside.split("/")[1] in own else inside

    found = Faults()
    merged = options({**shared, **{key: laid_over(shared.get(key), own[key]) for key in own}}, found)
    if found.total:
        for fault in found.kept:
            faults.add(place(fault.pointer), fault.detail, fault.code)
        return None
    request = replace(
        base,
        preset=merged.preset,
        assigner=merged.assigner,
        loss=merged.loss,
        head=merged.head,
        dtype=merged.dtype,
    )
    return Variant(name=name, request=request, place=place)


def laid_over(below_: Any, above: Any) -> Any:  # noqa: ANN401 - any JSON value
    """One option over another, field by field."""
    if not isinstance(below_, dict) or not isinstance(above, dict):
        return above
    return {**below_, **{key: laid_over(below_.get(key), value) for key, value in above.items()}}


def _take(problem: InvalidRequest, faults: Faults) -> None:
    """The faults of a part among those of the whole."""
    for fault in problem.faults:
        faults.add(fault.pointer, fault.detail, fault.code)
    faults.total += problem.faults_total - len(problem.faults)


class Move(BaseModel):
    """One prediction that changed its state or its box."""

    model_config = ConfigDict(extra="allow")

    image: str | int
    prediction: str | int
    reason: str = Field(description="Why it is where it is in `b`; `TIE` where both sides decided by little.")
    tie: bool


class Explanation(BaseModel):
    """Why it moved; `unavailable` says what is missing where that cannot be told."""

    model_config = ConfigDict(extra="allow")

    terms: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Term → `delta`, and its parts by ingredient."
    )
    causes: list[dict[str, Any]] = Field(default_factory=list)
    rows: list[dict[str, Any]] = Field(default_factory=list, description="What moved most, largest first.")
    rows_left_out: int = 0
    unavailable: str | None = None


class PairAnswer(BaseModel):
    """What moved from one side to another."""

    model_config = ConfigDict(extra="allow")

    a: str
    b: str
    flips: list[Move]
    explanation: Explanation


class ComparisonAnswer(BaseModel):
    """Each side in short, and the first one with each of the others."""

    model_config = ConfigDict(extra="allow")

    variants: list[dict[str, Any]]
    pairs: list[PairAnswer]
