"""What is told of kept baselines and of checks."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from posneg.service.schemas.loss_request import EXAMPLE as LOSS_EXAMPLE

BASELINE_EXAMPLE: dict[str, Any] = json.loads((Path(__file__).parent / "article_baseline.json").read_text())
"""What `posneg record` writes of the article's example."""
CHECK_EXAMPLE: dict[str, Any] = {"baseline": BASELINE_EXAMPLE, "current": LOSS_EXAMPLE}
CHECK_ANSWER_EXAMPLE: dict[str, Any] = {
    "baseline": None,
    "verdict": "same",
    "compared": 1,
    "cases": [
        {
            "name": "article/textbook",
            "verdict": "same",
            "terms": [
                {
                    "name": name,
                    "baseline": value,
                    "now": value,
                    "delta": 0.0,
                    "tolerance": {"rtol": 1e-9, "atol": 0.0},
                    "moved": False,
                    "changes": [],
                }
                for name, value in ((n, t["value"]) for n, t in BASELINE_EXAMPLE["terms"].items())
            ],
            "flips": [],
            "explanation": {"causes": []},
        }
    ],
}


class Baseline(BaseModel):
    """A kept baseline in short. Times are seconds since 1970."""

    model_config = ConfigDict(extra="allow")

    name: str
    preset: str | None
    verdict: str
    total: float | None
    terms: dict[str, float | None]
    counts: dict[str, int]
    created_at: float
    updated_at: float
    etag: str


class BaselinePage(BaseModel):
    """Baselines by name."""

    data: list[Baseline]
    has_more: bool
    next: str | None


class BaselineFile(BaseModel):
    """What `posneg record` writes; `columns` names the columns of the rows."""

    model_config = ConfigDict(extra="allow")

    format: int
    name: str
    columns: dict[str, list[str]]
    inputs: dict[str, str]
    resolved: dict[str, Any]
    verdict: str
    total: float | None
    terms: dict[str, dict[str, Any]]
    counts: dict[str, int]
    images: list[list[Any]]
    positive: list[list[Any]]
    ignored: list[list[Any]]
    near: list[list[Any]]


class CheckRequest(BaseModel):
    """A baseline and what is computed now."""

    model_config = ConfigDict(extra="forbid")

    baseline: str | dict[str, Any] = Field(description="The name of a kept baseline, or one in full.")
    current: dict[str, Any] = Field(description="What POST /v1/losses would be sent.")
    tolerance: dict[str, Any] | None = Field(
        None, description="How far it may move: `default`, `terms`, `flips`, `inputs`, as in posneg.yaml."
    )


class CheckSummary(BaseModel):
    """A check in a list."""

    model_config = ConfigDict(extra="allow")

    id: str
    baseline: str | None = Field(description="The name it was kept under; null for one that was sent.")
    verdict: Literal["same", "moved", "incompatible", "inconclusive"]
    created_at: float


class CheckTerm(BaseModel):
    """One term on both sides; `changes` names what moved."""

    model_config = ConfigDict(extra="allow")

    name: str
    baseline: float | None
    now: float | None
    delta: float | None
    tolerance: dict[str, float]
    moved: bool
    changes: list[str]


class CheckCase(BaseModel):
    """One case: what its comparison found, or the problem that kept it from being compared."""

    model_config = ConfigDict(extra="allow")

    name: str
    verdict: Literal["same", "moved", "incompatible", "inconclusive"]
    terms: list[CheckTerm]
    flips: list[dict[str, Any]]
    explanation: dict[str, Any] = {}


class CheckAnswer(CheckSummary):
    """What a check found."""

    cases: list[CheckCase]
    compared: int = Field(description="Cases that were compared with their baseline.")


class CheckPage(BaseModel):
    """Checks, the newest first."""

    data: list[CheckSummary]
    has_more: bool
    next: str | None
