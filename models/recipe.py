"""What a loss is made of: an assigner and weighted terms, each a loss function with its normalizer.

A published recipe is a preset; what a caller changes of it gives another recipe. All of it is plain data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge

Scope = Literal["batch", "image"]
Target = Literal["hard", "iou", "metric"]
Compared = Literal["boxes", "deltas", "ltrb"]
Unit = Literal["pixel", "stride", "image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TermRecipe:
    """One term: the loss of each prediction, summed, over the normalizer, times `weight`.

    `compared` is what a coordinate loss (L1 and its kin) compares; overlap losses always compare boxes and
    distribution losses bins. `unit` is what lengths are divided by: nothing, the row's stride, the image's
    size. `weighted_by_target` multiplies each pair by its classification target. Of a classification term,
    `negative_weight` multiplies the rows of negatives, `class_weights` the columns, and `target` is what a
    positive's own class should reach: 1, the overlap, or the assigner's normalised metric.
    """

    loss: str
    options: Mapping[str, Any] = field(default_factory=dict)
    weight: Annotated[float, Ge(0)] = 1.0
    normalizer: str = "none"
    scope: Scope = "batch"
    compared: Compared = "boxes"
    unit: Unit = "pixel"
    weighted_by_target: bool = False
    negative_weight: Annotated[float, Ge(0)] = 1.0
    class_weights: tuple[Annotated[float, Ge(0)], ...] | None = None
    target: Target = "hard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """An assigner with its options, and the terms in the order in which they are told.

    `flavor` is the framework that the recipe comes from: a loss that has such a flavor is taken in it.
    `point_offset` is where in its cell the upstream puts an anchor point that is derived from a grid.
    """

    preset: str
    assigner: str
    assigner_options: Mapping[str, Any]
    terms: Mapping[str, TermRecipe]
    flavor: str | None = None
    point_offset: float = 0.5
