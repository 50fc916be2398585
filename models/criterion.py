"""The loss of a batch: one assignment, then each term summed, divided once and weighted.

One criterion serves the API, the check and training: what is trained with is what can be explained.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from posneg.models import boxes
from posneg.models.assigners import assigner
from posneg.models.losses import kind_of, losses
from posneg.models.normalizers import normalizer
from posneg.models.normalizers._tally import Tally
from posneg.models.recipe import Recipe, TermRecipe
from posneg.models.types import Assignment, Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """The divisor of a term: counted (`raw`), and as used, at least 1; [1] for the batch or [B]."""

    name: str
    raw: Float[Tensor, "S"]
    used: Float[Tensor, "S"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One term of a loss.

    `rows` is what each prediction pays before division and weight; times `scale` of its image it is its share
    of `value`. `available` is false where the input cannot give the term (then everything is 0).
    """

    weight: float
    normalization: Normalization
    rows: Float[Tensor, "N"]
    scale: Float[Tensor, "B"]
    raw: Float[Tensor, ""]
    value: Float[Tensor, ""]
    positive: Float[Tensor, ""]
    negative: Float[Tensor, ""]
    available: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """A loss taken apart; `targets` is each positive's classification target, 0 elsewhere."""

    total: Float[Tensor, ""]
    terms: dict[str, Term]
    assignment: Assignment
    targets: Float[Tensor, "N"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matched:
    """The positives as pairs: rows of predictions and of ground truth, and each pair's loss weight."""

    prediction: Int[Tensor, "P"]
    ground_truth: Int[Tensor, "P"]
    weight: Float[Tensor, "P"]


def assign(recipe: Recipe, batch: Batch, *, trace: bool = False) -> Assignment:
    """The recipe's assignment of a batch; with `trace` it carries what explains it."""
    options = {**recipe.assigner_options, "trace": trace}
    return assigner[recipe.assigner](batch.predictions, batch.ground_truth, **options)


def criterion(recipe: Recipe, batch: Batch, assignment: Assignment | None = None) -> Breakdown:
    """The loss of a batch under a recipe, by term and prediction; gradients reach what the batch is made of.

    `assignment` is computed where it is not given; it carries no gradient, as in every upstream.
    """
    assignment = assign(recipe, batch) if assignment is None else assignment
    targets = _targets(recipe, assignment, batch)
    prediction = assignment.positive.nonzero().squeeze(1)
    ground_truth = assignment.ground_truth[prediction]
    matched = _Matched(
        prediction=prediction,
        ground_truth=ground_truth,
        weight=batch.ground_truth.weight[ground_truth],
    )
    terms = {name: _term(term, batch, assignment, targets, matched) for name, term in recipe.terms.items()}
    values = [term.value for term in terms.values()]
    return Breakdown(total=torch.stack(values).sum(), terms=terms, assignment=assignment, targets=targets)


def _targets(recipe: Recipe, assignment: Assignment, batch: Batch) -> Float[Tensor, "N"]:
    """What each positive's own class should reach."""
    classification = recipe.terms.get("classification")
    match classification.target if classification else "hard":
        case "iou":
            return assignment.iou
        case "metric":
            return assignment.quality
        case _:
            return assignment.positive.to(batch.predictions.boxes.dtype)


def _term(
    term: TermRecipe,
    batch: Batch,
    assignment: Assignment,
    targets: Float[Tensor, "N"],
    matched: _Matched,
) -> Term:
    """One term: its rows, their sums by sign, divided and weighted."""
    rows = _rows(term, batch, assignment, targets, matched)
    image = batch.predictions.image
    by_image = term.scope == "image"
    tally = Tally(batch=batch, assignment=assignment, targets=targets, by_image=by_image)
    raw = normalizer[term.normalizer](tally)
    used = raw.clamp(min=1)
    scale = term.weight / used / (batch.images if by_image else 1)
    scale = scale if by_image else scale.expand(batch.images)
    available = rows is not None
    rows = torch.zeros_like(targets) if rows is None else rows
    shares = rows * scale[image]
    value = shares.sum()
    positive = shares[assignment.positive].sum()
    return Term(
        weight=term.weight,
        normalization=Normalization(name=term.normalizer, raw=raw, used=used),
        rows=rows,
        scale=scale,
        raw=rows.sum(),
        value=value,
        positive=positive,
        negative=value - positive,
        available=available,
    )


def _rows(
    term: TermRecipe,
    batch: Batch,
    assignment: Assignment,
    targets: Float[Tensor, "N"],
    matched: _Matched,
) -> Float[Tensor, "N"] | None:
    """What each prediction pays; None where the batch has not what the term compares."""
    if kind_of(term.loss) == "classification":
        return _classification_rows(term, batch, assignment, targets, matched)
    pairs = _pair_losses(term, batch, matched)
    if pairs is None:
        return None
    weight = matched.weight
    if term.weighted_by_target:
        weight = weight * targets[matched.prediction]
    return torch.zeros_like(targets).index_add(0, matched.prediction, pairs * weight)


def _classification_rows(
    term: TermRecipe,
    batch: Batch,
    assignment: Assignment,
    targets: Float[Tensor, "N"],
    matched: _Matched,
) -> Float[Tensor, "N"]:
    """Summed over classes: positives against their target, negatives against 0, ignored rows nothing."""
    scores = batch.predictions.scores
    dense = torch.zeros_like(scores.values)
    dense[matched.prediction] = _class_targets(batch, matched, targets)
    values = losses[term.loss](scores, dense, **term.options)
    if scores.given is not None:
        values = torch.where(scores.given, values, 0)
    if term.class_weights is not None:
        values = values * values.new_tensor(term.class_weights)
    rows = values.sum(-1)
    weight = torch.full_like(rows, term.negative_weight).index_copy(0, matched.prediction, matched.weight)
    return torch.where(assignment.ignored, 0, rows * weight)


def _class_targets(batch: Batch, matched: _Matched, targets: Float[Tensor, "N"]) -> Float[Tensor, "P C"]:
    """The target of every class for each positive."""
    truth = batch.ground_truth
    value = targets[matched.prediction, None]
    if truth.soft_labels is not None:
        return truth.soft_labels[matched.ground_truth] * value
    rows = value.new_zeros(len(value), batch.predictions.scores.values.shape[1])
    return rows.scatter(1, truth.labels[matched.ground_truth, None], value)


def _pair_losses(term: TermRecipe, batch: Batch, matched: _Matched) -> Float[Tensor, "P"] | None:
    """The loss of each matched pair, summed over coordinates or sides; None where a column is missing."""
    predictions, rows = batch.predictions, matched.prediction
    truth = batch.ground_truth.boxes[matched.ground_truth]
    function, options = losses[term.loss], term.options
    kind = kind_of(term.loss)
    if kind == "distribution":
        if predictions.dfl is None:
            return None
        distances = _distances(batch, matched, truth)
        return function(predictions.dfl[rows], distances, **options).sum(-1)
    if kind == "overlap" or term.compared == "boxes":
        unit = _unit(term, batch, matched)
        values = function(predictions.boxes[rows] / unit, truth / unit, **options)
        return values if kind == "overlap" else values.sum(-1)
    compared = _compared(term, batch, matched, truth)
    return None if compared is None else function(*compared, **options).sum(-1)


def _compared(
    term: TermRecipe, batch: Batch, matched: _Matched, truth: Float[Tensor, "P 4"]
) -> tuple[Float[Tensor, "P 4"], Float[Tensor, "P 4"]] | None:
    """What a coordinate loss compares where it is not the boxes: the head's own numbers and their targets."""
    predictions, rows = batch.predictions, matched.prediction
    if term.compared == "deltas":
        if predictions.deltas is None or predictions.anchors is None:
            return None
        return predictions.deltas[rows], boxes.to_deltas(predictions.anchors[rows], truth)
    if predictions.ltrb is None:
        return None
    # In image units the mean of the four sides counts, as ultralytics has it for heads without bins.
    unit = _unit(term, batch, matched) / predictions.strides[rows, None] * 4
    return predictions.ltrb[rows] / unit, _distances(batch, matched, truth) / unit


def _distances(batch: Batch, matched: _Matched, truth: Float[Tensor, "P 4"]) -> Float[Tensor, "P 4"]:
    """Distances from each matched point to the sides of its box, in strides."""
    predictions, rows = batch.predictions, matched.prediction
    return boxes.to_distances(predictions.points[rows], truth) / predictions.strides[rows, None]


def _unit(term: TermRecipe, batch: Batch, matched: _Matched) -> Tensor | float:
    """Pixels in one unit of length, by pair and coordinate."""
    if term.unit == "stride":
        return batch.predictions.strides[matched.prediction, None]
    if term.unit == "image":
        assert batch.sizes is not None, "a term in image units needs sizes"
        return batch.sizes[batch.predictions.image[matched.prediction]].flip(-1).repeat(1, 2)
    return 1.0
