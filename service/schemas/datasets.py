"""What is told of a data set."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Split(BaseModel):
    """Counts of one split."""

    images: int
    boxes: int
    images_without_boxes: int
    crowd: int


class Issue(BaseModel):
    """One finding in the uploaded files, and what was done about it.

    `pointer` is a JSON pointer into `file`; `id` is the annotation's or image's own.
    """

    code: str
    file: str
    pointer: str | None
    id: int | str | None
    detail: str
    action: Literal["dropped", "clipped", "scaled", "turned", "merged", "kept", "treated as crowd", "split"]


class DatasetSummary(BaseModel):
    """A data set in a list. Times are seconds since 1970, null for one that is generated."""

    model_config = ConfigDict(extra="allow")

    name: str
    generated: bool
    classes: list[str]
    images: int
    boxes: int
    boxes_by_class: dict[str, int]
    splits: dict[str, Split]
    issues_total: int
    issues_by_code: dict[str, int]
    created_at: float | None
    updated_at: float | None
    etag: str


class Dataset(DatasetSummary):
    """A data set with everything that was found in its files, at most 10,000 findings of `issues_total`."""

    issues: list[Issue]


class DatasetPage(BaseModel):
    """Data sets by name."""

    data: list[DatasetSummary]
    has_more: bool
    next: str | None
