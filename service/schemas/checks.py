"""What is told of kept baselines and of checks."""

from typing import Any

from pydantic import BaseModel, ConfigDict


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
