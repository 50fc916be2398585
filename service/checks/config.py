"""`posneg.yaml`: which cases to check, how far each of their numbers may move, where the baselines are."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from posneg.service.checks.documents import escape, read_yaml
from posneg.service.errors import Fault, InvalidRequest

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")
LARGEST_TIE_EPS = 1e-3  # baselines keep the margins of negatives up to here, so no tie rule may reach further


def _valid_name(name: str) -> str:
    if len(name) > 128 or not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name; use segments of a-z 0-9 . _ - that start with a letter or digit, "
            "joined by /, at most 128 characters"
        )
    return name


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Tolerance(_Part):
    """How far a number may move: `atol` + `rtol` × the larger magnitude. Unset: as the default has it."""

    rtol: float | None = Field(default=None, ge=0)
    atol: float | None = Field(default=None, ge=0)

    def allows(self, before: float, now: float) -> bool:
        """Whether the two count as equal, whichever is the larger."""
        return abs(now - before) <= (self.atol or 0.0) + (self.rtol or 0.0) * max(abs(before), abs(now))


class Flips(_Part):
    """How many predictions may change sides, and below which relative margin a flip is a tie."""

    max: int = Field(default=0, ge=0)
    tie_eps: float = Field(default=1e-9, ge=0, le=LARGEST_TIE_EPS)


class Tolerances(_Part):
    """What a case may move by: a default, exceptions by term, flips; whether `inputs` may be others."""

    default: Tolerance = Tolerance()
    terms: dict[str, Tolerance] = {}
    flips: Flips = Flips()
    inputs: Literal["exact", "any"] = "exact"

    def of(self, term: str) -> Tolerance:
        """The tolerance of one term, every field filled in."""
        own = self.terms.get(term, Tolerance())
        rtol = next(r for r in (own.rtol, self.default.rtol, 1e-9) if r is not None)
        return Tolerance(rtol=rtol, atol=next(a for a in (own.atol, self.default.atol, 0.0) if a is not None))


class CocoPair(_Part):
    """Two files as COCO tools write them."""

    ground_truth: str
    predictions: str


class Case(_Part):
    """One thing to check: a COCO pair or a request file, and the recipe that its loss is computed with."""

    name: Annotated[str, AfterValidator(_valid_name)]
    coco: CocoPair | None = None
    request: str | None = None
    preset: str | None = None
    assigner: dict[str, Any] = {}
    loss: dict[str, dict[str, Any]] = {}
    tolerance: Tolerances = Tolerances()

    @model_validator(mode="after")
    def _has_one_source(self) -> "Case":
        if (self.coco is None) == (self.request is None):
            raise ValueError("a case needs either coco: {ground_truth, predictions} or request: FILE")
        return self


class _Document(_Part):
    cases: list[Case] | None
    baselines: str = "baselines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A checked `posneg.yaml`; paths in it are relative to its folder."""

    folder: Path
    cases: tuple[Case, ...]
    baselines: Path

    def baseline_file(self, case: Case) -> Path:
        """Where the baseline of `case` is kept."""
        return self.baselines / f"{case.name}.json"


def load(file: Path) -> Config:
    """Read and check `file`; raises `InvalidRequest` with the line of each bad element."""
    document, lines = read_yaml(file)
    try:
        checked = _Document.model_validate(document)
    except ValidationError as error:
        raise _invalid(file, [fault_of(e) for e in error.errors()], lines) from None
    cases = checked.cases or []
    if repeated := list(_repeated(cases)):
        raise _invalid(file, repeated, lines)
    return Config(folder=file.parent, cases=tuple(cases), baselines=file.parent / checked.baselines)


def _repeated(cases: list[Case]) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, case in enumerate(cases):
        if case.name in seen:
            yield Fault(f"/cases/{index}/name", f"{case.name!r} names another case as well", "duplicate")
        seen.add(case.name)


def _invalid(file: Path, faults: list[Fault], lines: dict[str, int]) -> InvalidRequest:
    lined = sorted(((_line(f.pointer, lines), f) for f in faults), key=lambda pair: pair[0])
    located = [Fault(f"{file}:{line}: {f.pointer or '/'}", f.detail, f.code) for line, f in lined]
    return InvalidRequest(f"{file} cannot be used as it is", faults=located)


def _line(pointer: str, lines: dict[str, int]) -> int:
    while pointer and pointer not in lines:
        pointer = pointer.rpartition("/")[0]
    return lines.get(pointer, 1)


def fault_of(error: Any) -> Fault:  # noqa: ANN401 - pydantic calls it a TypedDict, but only for its checkers
    """One complaint of pydantic, with a JSON pointer and what may have been meant."""
    location = error["loc"]
    detail = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        detail = f"no such key{_suggestion(str(location[-1]), location[:-1])}"
    elif error["type"] == "missing":
        detail = "is missing"
    elif error["type"] == "model_type":
        detail = f"should be a mapping, not {error['input']!r:.80}"
    elif error["type"] != "value_error":
        detail = f"{detail}, not {error['input']!r:.80}"
    return Fault("".join(f"/{escape(str(part))}" for part in location), detail, error["type"])


def _suggestion(key: str, parents: tuple[str | int, ...]) -> str:
    if key in ("model", "train", "images"):
        return "; this version checks coco and request cases"
    parts: dict[str | int, type[BaseModel]] = {"coco": CocoPair, "tolerance": Tolerances, "flips": Flips}
    part = (
        parts.get(parents[-1], Case if isinstance(parents[-1], int) else Tolerance) if parents else _Document
    )
    near = difflib.get_close_matches(key, part.model_fields, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(part.model_fields)}"
