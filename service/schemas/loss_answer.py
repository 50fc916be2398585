"""What /openapi.json says of the answers on assignments and losses; the engine builds them in bulk."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Number = float | None
"""Null where the value is not finite; `nonfinite` then lists it."""


LOSSES_EXAMPLE, ASSIGNMENTS_EXAMPLE = (
    json.loads((Path(__file__).parent / name).read_text())
    for name in ("article_losses.json", "article_assignments.json")
)
"""The answers to `loss_request.EXAMPLE`."""


class Documented(BaseModel):
    """An object that may carry more than what is named here."""

    model_config = ConfigDict(extra="allow")


class Normalizer(Documented):
    """What a term's sum is divided by."""

    name: str
    raw: Number
    used: Number
    clamped: bool


class TermAnswer(Documented):
    """One term of the loss: `value` = `weight` · `raw` / `normalizer.used` = `positive` + `negative`."""

    raw: Number = Field(
        description="The sum before weight and normalizer; null where the input cannot give it."
    )
    value: Number
    weight: Number = None
    normalizer: Normalizer | None = None
    positive: Number = None
    negative: Number = None
    available: bool = True


class Warned(Documented):
    """Something that the caller should know and that is no error."""

    code: str
    detail: str
    pointer: str | None = None


class ImageAnswer(Documented):
    """One image: a row for each prediction (as `detail` says) and for each ground truth, with its reason."""

    id: str | int
    counts: dict[str, int]
    predictions: list[dict[str, Any]] = Field(default_factory=list)
    ground_truth: list[dict[str, Any]] = Field(default_factory=list)


class AssignmentAnswer(Documented):
    """Which prediction answers for which ground truth, and why."""

    counts: dict[str, int]
    verdict: Literal["ok", "vacuous", "nonfinite"] = Field(
        description="`vacuous`: ground truth, but nothing positive; a zero box loss is no good news then."
    )
    warnings: list[Warned]
    resolved: dict[str, Any] = Field(description="The recipe in full, with the version of each rule.")
    images: list[ImageAnswer]


class LossAnswer(AssignmentAnswer):
    """The assignment, and the loss term by term."""

    total: Number
    terms: dict[str, TermAnswer]
