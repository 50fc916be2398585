"""The values that flow through the engine: images side by side in flat tensors.

A batch is not padded. Predictions and ground truth of all images stand one after another, and `image`
says where each row belongs; it never decreases. N predictions, G ground truths, B images, C classes,
R bins of a distribution head.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """Class scores as a head gave them: `logits` before the sigmoid, or `probabilities`; exactly one is set.

    `given` marks the classes that a sparse prediction has a score for; None means all of them.
    """

    logits: Float[Tensor, "N C"] | None = None
    probabilities: Float[Tensor, "N C"] | None = None
    given: Bool[Tensor, "N C"] | None = None

    @property
    def values(self) -> Float[Tensor, "N C"]:
        """The tensor that was given, logits or probabilities."""
        values = self.logits if self.logits is not None else self.probabilities
        assert values is not None, "class scores need logits or probabilities"
        return values

    @property
    def all_probabilities(self) -> Float[Tensor, "N C"]:
        """Every score as a probability."""
        return self.values.sigmoid() if self.logits is not None else self.values

    @property
    def log_softmax(self) -> Float[Tensor, "N C"]:
        """ln of each class's share: of a softmax over logits, or of the probabilities, then at least -100."""
        if self.logits is not None:
            return self.logits.log_softmax(-1)
        least = max(math.exp(-100), torch.finfo(self.values.dtype).tiny)
        return self.values.clamp(min=least).log()

    def cross_entropy(self, target: Float[Tensor, "*#N C"] | None) -> Float[Tensor, "N C"]:
        """-(y ln p + (1 - y) ln(1 - p)) of each score against a target y in 0..1; None is 0 everywhere.

        From logits without overflow; from probabilities each logarithm is at least -100, as in torch.
        """
        if self.logits is None:
            target = torch.zeros_like(self.values) if target is None else target.expand_as(self.values)
            return functional.binary_cross_entropy(self.values, target, reduction="none")
        if target is None:
            return functional.softplus(self.logits, threshold=40)  # beyond, it is linear to the last digit
        target = target.expand_as(self.logits)
        return functional.binary_cross_entropy_with_logits(self.logits, target, reduction="none")

    def probability(self, rows: Int[Tensor, "P"], classes: Int[Tensor, "P"]) -> Float[Tensor, "P"]:
        """The probability of one class for each of some rows."""
        picked = self.values[rows, classes]
        return picked.sigmoid() if self.logits is not None else picked

    def take(self, rows: Tensor) -> "ClassScores":
        """Some rows, by index or mask."""
        return ClassScores(
            logits=None if self.logits is None else self.logits[rows],
            probabilities=None if self.probabilities is None else self.probabilities[rows],
            given=None if self.given is None else self.given[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What a head says about every anchor point, decoded boxes beside the raw columns they came from.

    `boxes` are xyxy in pixels. `points` and `strides` are in pixels; `ltrb` and `dfl` (logits over bins,
    sides left, top, right, bottom) count strides; `deltas` are relative to `anchors`. Rows that are not
    `finite` take no part; None means that all are. With `boxes_from_dfl` the boxes carry no gradient, and
    those of the matches are decoded anew from `dfl`, with one: a dense pass less backwards.
    """

    boxes: Float[Tensor, "N 4"]
    scores: ClassScores
    image: Int[Tensor, "N"]
    points: Float[Tensor, "N 2"]
    strides: Float[Tensor, "N"]
    anchors: Float[Tensor, "N 4"] | None = None
    ltrb: Float[Tensor, "N 4"] | None = None
    dfl: Float[Tensor, "N 4 R"] | None = None
    deltas: Float[Tensor, "N 4"] | None = None
    raw: Float[Tensor, "N 4"] | None = None
    objectness: Float[Tensor, "N"] | None = None
    centerness: Float[Tensor, "N"] | None = None
    extent: Float[Tensor, "N 2"] | None = None
    finite: Bool[Tensor, "N"] | None = None
    boxes_from_dfl: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundTruth:
    """The boxes that predictions answer for. `ignore` ones are matched to nothing and count nowhere.

    `weight` multiplies the loss of the predictions that a box gets. `soft_labels` give a box's classes as
    shares, where one class is not the whole truth; None means one-hot labels.
    """

    boxes: Float[Tensor, "G 4"]
    labels: Int[Tensor, "G"]
    image: Int[Tensor, "G"]
    ignore: Bool[Tensor, "G"]
    weight: Float[Tensor, "G"]
    soft_labels: Float[Tensor, "G C"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Predictions and ground truth of `images` images; `listed` marks what somebody's sampler took."""

    predictions: Predictions
    ground_truth: GroundTruth
    images: int
    listed: Bool[Tensor, "N"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One test that an assigner puts a pair to, kept so that the outcome can be explained.

    `reason` is what a pair is called that fails here first. `cutoff` is NaN where there was no rival.
    A pair of value v passes when it is above the cut-off (below it for a cost).
    """

    __test__ = False  # not a pytest class

    reason: str
    quantity: str
    value: Float[Tensor, "P"]
    cutoff: Float[Tensor, "P"]
    passed: Bool[Tensor, "P"]
    cost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Why an assignment came out as it did: the pairs that were weighed, and the tests in their order.

    `rank` counts from 1 within a ground truth; 0 where the pair was not ranked. `factors` are what the metric
    is the product of, or the sum where `metric_is_cost` (less is better). `candidates` tells how many
    predictions each ground truth had to choose from where not all of them are among the pairs.
    """

    prediction: Int[Tensor, "P"]
    ground_truth: Int[Tensor, "P"]
    candidate: Bool[Tensor, "P"]
    iou: Float[Tensor, "P"]
    metric: Float[Tensor, "P"]
    factors: dict[str, Float[Tensor, "P"]]
    rank: Int[Tensor, "P"]
    tests: tuple[Test, ...]
    metric_is_cost: bool = False
    candidates: Int[Tensor, "G"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Which ground truth each prediction answers for.

    `ground_truth` is 0 where a prediction is not positive. `iou` and `metric` are those of the matched pair,
    as the assigner measured them, and `quality` is the metric normalised to a target in 0..1; all 0
    elsewhere. `reason` gives each positive (`TOP_K`, ...) and each ignored prediction its code, by index into
    `reasons`. `degenerate` marks the ground truths that the assigner dropped.
    """

    positive: Bool[Tensor, "N"]
    ignored: Bool[Tensor, "N"]
    ground_truth: Int[Tensor, "N"]
    iou: Float[Tensor, "N"]
    metric: Float[Tensor, "N"]
    quality: Float[Tensor, "N"]
    degenerate: Bool[Tensor, "G"]
    reason: Int[Tensor, "N"] | None = None
    reasons: tuple[str, ...] = ()
    times: Int[Tensor, "N"] | None = None
    trace: Trace | None = None

    @property
    def negative(self) -> Bool[Tensor, "N"]:
        """Predictions that pay for being background."""
        return ~(self.positive | self.ignored)


def image_starts(image: Int[Tensor, "N"], images: int) -> list[int]:
    """Where each image's rows begin in a flat tensor, and the end of the last: `images` + 1 offsets."""
    counts = torch.bincount(image, minlength=images)
    return [0, *torch.cumsum(counts, 0).tolist()]
