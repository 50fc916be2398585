"""What a run of a case is remembered by: its numbers, its matches, and what they were computed from.

The file is made for git: sorted keys, one row a line, doubles in their shortest exact form, rows sorted by
image, so that two runs over the same inputs give the same bytes and two branches merge line by line.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from posneg.service.checks.config import LARGEST_TIE_EPS
from posneg.service.checks.documents import parse_json, read_bytes
from posneg.service.errors import BadRequest, BaselineIncompatible

FORMAT = 1
Reference = str | int

_PAIR = ["prediction", "ground_truth", "target", "margin", "reason", "prediction_index", "ground_truth_index"]
COLUMNS = {
    "images": ["id", "ground_truth", "ground_truth_by", "predictions", "predictions_by"],
    "positive": ["image", *_PAIR],
    "ignored": ["image", *[c for c in _PAIR if c != "target"]],
    "near": ["image", "prediction", "margin", "reason", "prediction_index"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What became of one prediction; `ground_truth` is its box, or the region that an ignored one fell in.

    `prediction` and `ground_truth` are ids where every element of the image has one, else indices.
    """

    prediction: Reference
    prediction_index: int
    state: str
    reason: str | None
    margin: float | None
    ground_truth: Reference | None = None
    ground_truth_index: int | None = None
    target: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """How many boxes and predictions an image has, what they are told apart by, and what became of them.

    `matches` holds every positive and ignored prediction, and at least those others that lost by little.
    """

    id: Reference
    ground_truth: int
    ground_truth_by: str  # "id" or "index"
    predictions: int
    predictions_by: str
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One run of one case: what a baseline file holds, or what a fresh run would write into one."""

    name: str
    inputs: dict[str, str]
    resolved: dict[str, Any]
    verdict: str  # ok, vacuous or nonfinite
    total: float | None
    terms: dict[str, dict[str, Any]]
    counts: dict[str, int]
    images: tuple[Image, ...]


def snapshot(name: str, inputs: dict[str, str], answer: dict[str, Any]) -> Snapshot:
    """The run that `answer`, a full response of /v1/losses, tells of, as its file would hold it."""
    return Snapshot(
        name=name,
        inputs=inputs,
        resolved=json.loads(json.dumps(answer["resolved"])),
        verdict=answer["verdict"],
        total=answer["total"],
        terms={name: _term(term) for name, term in answer["terms"].items()},
        counts=answer["counts"],
        images=tuple(sorted((_image(i) for i in answer["images"]), key=lambda i: _order(i.id))),
    )


def _term(term: dict[str, Any]) -> dict[str, Any]:
    kept = {key: term.get(key) for key in ("raw", "weight", "value", "positive", "negative")}
    normalizer = term.get("normalizer") or {}
    kept["normalizer"] = {"name": normalizer.get("name"), "used": normalizer.get("used")}
    return kept if term.get("available", True) else kept | {"available": False}


def _order(identity: Reference) -> tuple[str, Reference]:
    return type(identity).__name__, identity


def _image(image: dict[str, Any]) -> Image:
    truths, rows = image["ground_truth"], image["predictions"]
    truth_by, prediction_by = _told_by(truths), _told_by(rows)
    return Image(
        id=image["id"],
        ground_truth=len(truths),
        ground_truth_by=truth_by,
        predictions=len(rows),
        predictions_by=prediction_by,
        matches=tuple(_match(row, truth_by, prediction_by) for row in sorted(rows, key=lambda r: r["index"])),
    )


def _told_by(elements: list[dict[str, Any]]) -> str:
    return "id" if elements and all(e.get("id") is not None for e in elements) else "index"


def _match(row: dict[str, Any], truth_by: str, prediction_by: str) -> Match:
    box = "ground_truth" if row["state"] == "positive" else "nearest"
    index = row.get(f"{box}_index")
    return Match(
        prediction=row["id"] if prediction_by == "id" else row["index"],
        prediction_index=row["index"],
        state=row["state"],
        reason=row.get("reason"),
        margin=row.get("margin"),
        ground_truth=None if row["state"] == "negative" else row.get(box) if truth_by == "id" else index,
        ground_truth_index=None if row["state"] == "negative" else index,
        target=row.get("target"),
    )


def dumps(run: Snapshot) -> str:
    """The baseline file of a run."""
    fields: dict[str, Any] = {
        "format": FORMAT,
        "name": run.name,
        "columns": COLUMNS,
        "inputs": run.inputs,
        "resolved": run.resolved,
        "verdict": run.verdict,
        "total": run.total,
        "terms": run.terms,
        "counts": run.counts,
        "images": [[getattr(image, column) for column in COLUMNS["images"]] for image in run.images],
        "positive": _rows(run, "positive"),
        "ignored": _rows(run, "ignored"),
        "near": _rows(run, "near"),
    }
    return "{\n" + ",\n".join(f"{_line(key)}: {_block(fields[key])}" for key in sorted(fields)) + "\n}\n"


def _rows(run: Snapshot, section: str) -> list[list[Any]]:
    columns = COLUMNS[section][1:]
    return [
        [image.id, *(getattr(match, column) for column in columns)]
        for image in run.images
        for match in image.matches
        if _section(match) == section
    ]


def _section(match: Match) -> str | None:
    """Which part of the file keeps `match`: of the negatives only those that may win elsewhere."""
    if match.state != "negative":
        return match.state
    return "near" if match.margin is not None and abs(match.margin) <= LARGEST_TIE_EPS else None


def _block(value: Any) -> str:  # noqa: ANN401 - any JSON
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(map(_line, value)) + "\n]"
    if isinstance(value, dict) and any(isinstance(v, dict | list) for v in value.values()):
        return "{\n" + ",\n".join(f"{_line(k)}: {_line(value[k])}" for k in sorted(value)) + "\n}"
    return _line(value)


def _line(value: Any) -> str:  # noqa: ANN401 - any JSON
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


By = Literal["id", "index"]
_Positive = tuple[
    Reference, Reference, Reference | None, float | None, float | None, str | None, int, int | None
]
_Ignored = tuple[Reference, Reference, Reference | None, float | None, str | None, int, int | None]
_Near = tuple[Reference, Reference, float | None, str | None, int]


Number = float | None


class _Normalizer(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    name: str | None
    used: Number


class _Term(BaseModel):
    """The numbers that are compared; whatever else a term holds is kept as it is."""

    model_config = ConfigDict(strict=True, extra="allow")

    raw: Number
    weight: Number
    value: Number
    positive: Number
    negative: Number
    normalizer: _Normalizer
    available: bool = True


class _Resolved(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    semantics: dict[str, int] = {}


class _File(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    inputs: dict[str, str]
    resolved: _Resolved
    verdict: str
    total: float | None
    terms: dict[str, _Term]
    counts: dict[str, int]
    images: list[tuple[Reference, int, By, int, By]]
    positive: list[_Positive]
    ignored: list[_Ignored]
    near: list[_Near]


def load(file: Path) -> Snapshot:
    """The run that a file keeps; raises `BaselineIncompatible` or, where it is damaged, `BadRequest`."""
    data = read_bytes(file)
    document = parse_json(data, str(file))
    written_as = document.get("format") if isinstance(document, dict) else None
    if written_as != FORMAT:
        raise BaselineIncompatible(
            f"{file} has baseline format {written_as!r}, this version reads {FORMAT}; record it again"
        )
    try:
        return _restored(_File.model_validate_json(data))
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"/{part}" for part in first["loc"])
        raise BadRequest(f"{file} is no intact baseline: {first['msg']} at {place}") from None


def restore(document: dict[str, Any]) -> Snapshot:
    """The run that a document of this format keeps; raises pydantic's `ValidationError` if it is damaged."""
    return _restored(_File.model_validate_json(json.dumps(document)))


def _restored(file: _File) -> Snapshot:
    matches: dict[Reference, list[Match]] = {}
    for section, rows in (("positive", file.positive), ("ignored", file.ignored), ("near", file.near)):
        state = "negative" if section == "near" else section
        for image, *values in rows:
            fields: dict[str, Any] = dict(zip(COLUMNS[section][1:], values, strict=True))
            matches.setdefault(image, []).append(Match(state=state, **fields))
    images: list[dict[str, Any]] = [dict(zip(COLUMNS["images"], row, strict=True)) for row in file.images]
    return Snapshot(
        name=file.name,
        inputs=file.inputs,
        resolved=file.resolved.model_dump(exclude_unset=True),
        verdict=file.verdict,
        total=file.total,
        terms={name: term.model_dump(exclude_unset=True) for name, term in file.terms.items()},
        counts=file.counts,
        images=tuple(Image(**i, matches=tuple(matches.get(i["id"], ()))) for i in images),
    )
