"""A loss request after parsing: plain values and NumPy arrays, checked, in the order as sent.

Coordinates stay in the request's `box_format`, so that gradients can be given in the units sent. Values may
be non-finite: that is data to diagnose.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

BoxFormat = Literal["xyxy", "xywh", "cxcywh"]
Dtype = Literal["float64", "float32", "float16", "bfloat16"]
Detail = Literal["full", "positives", "summary"]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that the caller should know and that is no error; `pointer` leads into the request."""

    code: str
    detail: str
    pointer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundTruthInput:
    """The G boxes of one image; `ids` holds None where there is none, or where they are not unique (COCO)."""

    boxes: Floats  # [G, 4]
    labels: Integers  # [G], indices into the request's classes
    ignore: Flags  # [G]
    weight: Floats  # [G]
    ids: list[str | int | None]
    soft_labels: list[dict[str, float] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionsInput:
    """The N predictions of one image: sparse (a list) or dense (columns).

    `columns` holds what was sent, by its name in the contract: `boxes` [N, 4], `scores` or `logits` [N, C]
    (C + 1 for a softmax, background last), `points` [N, 2], `strides` [N], `anchors` [N, 4], `dfl` [N, 4,
    R], `ltrb`, `deltas`, `raw` [N, 4], `objectness`, `centerness` [N]. Points and strides derived from
    `grid` are among them, moved by half a cell or not as the grid says. A sparse list gives `boxes`,
    `scores` and `given`, which marks the classes that a prediction has a score for.
    """

    dense: bool
    count: int
    columns: dict[str, Floats]
    given: Flags | None = None  # [N, C], for a sparse list
    labels: Integers | None = None  # [N], the class a sparse prediction names or scores highest
    ids: list[str | int | None] = field(default_factory=list)
    sampled: Integers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """One image; `size` is (height, width) in pixels."""

    id: str | int
    ground_truth: GroundTruthInput
    predictions: PredictionsInput
    size: tuple[float, float] | None = None
    grid: bool = False  # points were derived from a grid without an explicit offset: a preset may move them


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInput:
    """Everything that one request to /v1/assignments or /v1/losses says."""

    images: list[ImageInput]
    classes: list[str]
    box_format: BoxFormat
    preset: str | None
    assigner: dict[str, Any]
    loss: dict[str, dict[str, Any]]
    head: str | None
    dtype: Dtype
    gradients: bool
    detail: Detail
    group_by: list[str]
    notices: list[Notice]
