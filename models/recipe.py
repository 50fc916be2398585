"""What a loss is made of: an assigner and weighted terms, each a loss function with its normalizer.

A published recipe is a preset; what a caller changes of it gives another recipe. All of it is plain data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge

Scope = Literal["batch", "image"]
Target = Literal["hard", "iou", "metric"]
Compared = Literal["boxes", "centered", "deltas", "ltrb", "raw"]
Unit = Literal["pixel", "stride", "image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TermRecipe:
    """One term: the loss of each prediction, summed, over the normalizer, times `weight`.

    `compared` is what a coordinate loss (L1 and its kin) compares: corners, centres and sizes (`centered`),
    or the head's own numbers; overlap losses always compare boxes and distribution losses bins. `unit` is
    what lengths are divided by: nothing, the row's stride, the image's size. `weighted_by` multiplies each
    pair by its classification target or its centerness. `positives_only` leaves negatives out of a dense
    term, and `negatives` says which of the rest are drawn. Of a classification term, `negative_weight`
    multiplies the rows of negatives, `class_weights` the classes, and `target` is what a positive's own
    class should reach: 1, the overlap, or the assigner's normalised metric. A term that `may_be_left_out`
    is left out while its weight is 0.
    """

    loss: str
    options: Mapping[str, Any] = field(default_factory=dict)
    weight: Annotated[float, Ge(0)] = 1.0
    normalizer: str = "none"
    scope: Scope = "batch"
    compared: Compared = "boxes"
    unit: Unit = "pixel"
    weighted_by: Literal["target", "centerness"] | None = None
    positives_only: bool = False
    negatives: Mapping[str, Any] = field(default_factory=lambda: {"name": "all"})
    negative_weight: Annotated[float, Ge(0)] = 1.0
    class_weights: tuple[Annotated[float, Ge(0)], ...] | None = None
    target: Target = "hard"
    may_be_left_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """An assigner with its options, and the terms in the order in which they are told.

    `flavor` is the framework that the recipe comes from: a loss that has such a flavor is taken in it.
    `point_offset` is where in its cell the upstream puts an anchor point that is derived from a grid.
    `delta_scale` is what offsets of centres and log ratios of sizes are divided by, and `bounded_deltas`
    whether log ratios are clipped from below too. `needs` names the columns, or `size`, without which there
    is no answer.
    """

    preset: str
    assigner: str
    assigner_options: Mapping[str, Any]
    terms: Mapping[str, TermRecipe]
    flavor: str | None = None
    point_offset: float = 0.5
    delta_scale: tuple[float, float] = (1.0, 1.0)
    bounded_deltas: bool = False
    needs: frozenset[str] = frozenset()

    @property
    def sampled_term(self) -> str:
        """The term that a sampler or hard mining is about: objectness where there are no classes."""
        return "classification" if "classification" in self.terms else "objectness"
