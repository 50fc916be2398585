"""The rows of a term: what each prediction pays before division and weight.

Dense terms (classification, objectness) have a value for every prediction that takes part; pair terms (boxes,
distributions, centerness) for positives alone.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from posneg.models import boxes
from posneg.models.heads import boxes_from_dfl
from posneg.models.losses import kind_of, losses
from posneg.models.recipe import Recipe, TermRecipe
from posneg.models.types import Assignment, Batch, ClassScores


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """A batch under an assignment: its positives as pairs, and the classification target of each prediction.

    `weight` is that of the ground truth, `truth` its box; `boxes` and `dfl` are those of the matched
    predictions, with gradients; `targets` are 0 but for positives.
    """

    batch: Batch
    assignment: Assignment
    targets: Float[Tensor, "N"]
    prediction: Int[Tensor, "P"]
    ground_truth: Int[Tensor, "P"]
    weight: Float[Tensor, "P"]
    truth: Float[Tensor, "P 4"]
    dfl: Float[Tensor, "P 4 R"] | None
    boxes: Float[Tensor, "P 4"]

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        batch: Batch,
        assignment: Assignment,
        targets: Float[Tensor, "N"] | None = None,
    ) -> "Matched":
        """The pairs of an assignment under a recipe, which gives the targets where they are not recorded."""
        prediction = assignment.positive.nonzero().squeeze(1)
        ground_truth = assignment.ground_truth[prediction]
        given = batch.predictions
        dfl = None if given.dfl is None else given.dfl[prediction]
        if given.boxes_from_dfl and dfl is not None:
            matched = boxes_from_dfl(dfl, given.points[prediction], given.strides[prediction])
        else:
            matched = given.boxes[prediction]
        return cls(
            batch=batch,
            assignment=assignment,
            targets=_targets(recipe, batch, assignment) if targets is None else targets,
            prediction=prediction,
            ground_truth=ground_truth,
            weight=batch.ground_truth.weight[ground_truth],
            truth=batch.ground_truth.boxes[ground_truth],
            dfl=dfl,
            boxes=matched,
        )

    @property
    def distances(self) -> Float[Tensor, "P 4"]:
        """From each matched point to the sides of its box, in strides."""
        predictions, rows = self.batch.predictions, self.prediction
        return boxes.to_distances(predictions.points[rows], self.truth) / predictions.strides[rows, None]

    @property
    def centerness(self) -> Float[Tensor, "P"]:
        """How far from the middle of its box each matched point lies: 1 there, 0 on a side.

        Tian et al., FCOS, ICCV 2019, arXiv:1904.01355, equation 3.
        """
        left, top, right, bottom = self.distances.unbind(-1)

        def balance(a: Tensor, b: Tensor) -> Tensor:
            longer = torch.maximum(a, b)
            return torch.where(longer > 0, torch.minimum(a, b) / torch.where(longer > 0, longer, 1), 0)

        return (balance(left, right) * balance(top, bottom)).clamp(min=0).sqrt()

    def spread(self, values: Float[Tensor, "P"]) -> Float[Tensor, "N"]:
        """Values of the pairs as a column of the predictions, 0 elsewhere."""
        return torch.zeros_like(self.targets, dtype=values.dtype).index_add(0, self.prediction, values)


def loss_rows(term: TermRecipe, matched: Matched, recipe: Recipe) -> Float[Tensor, "N"] | None:
    """What each prediction pays; None where the batch has not what the term compares."""
    match kind_of(term.loss):
        case "classification":
            return _kept(term, matched, _classification(term, matched))
        case "softmax":
            return _kept(term, matched, _softmax(term, matched))
        case "logit":
            values = _logit(term, matched)
            return None if values is None else _kept(term, matched, values)
        case _:
            pairs = _pairs(term, matched, recipe)
            return None if pairs is None else matched.spread(pairs * _pair_weight(term, matched))


def class_weight_of_rows(term: TermRecipe | None, matched: Matched) -> Float[Tensor, "N"]:
    """The weight of each row's class: the background's for negatives, 0 for what takes no part."""
    ones = torch.ones_like(matched.targets)
    if term is None:
        return ones
    background = float(term.options.get("background_weight", 1.0))
    rows = torch.full_like(ones, background)
    labels = matched.batch.ground_truth.labels[matched.ground_truth]
    weights = ones[:1].expand(len(labels))
    if term.class_weights is not None:
        weights = ones.new_tensor(term.class_weights)[labels]
    rows = rows.index_copy(0, matched.prediction, weights.to(rows.dtype))
    return torch.where(matched.assignment.ignored, 0, rows)


def _targets(recipe: Recipe, batch: Batch, assignment: Assignment) -> Float[Tensor, "N"]:
    """What each positive's own class should reach."""
    classification = recipe.terms.get("classification")
    match classification.target if classification else "hard":
        case "iou":
            return assignment.iou
        case "metric":
            return assignment.quality
        case _:
            return assignment.positive.to(batch.predictions.boxes.dtype)


def _kept(term: TermRecipe, matched: Matched, rows: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """A dense term's rows, weighted by ground truth and by sign; nothing from what takes no part."""
    weight = torch.full_like(rows, 0.0 if term.positives_only else term.negative_weight)
    weight = weight.index_copy(0, matched.prediction, matched.weight.to(rows.dtype))
    return torch.where(matched.assignment.ignored, 0, rows * weight)


def _classification(term: TermRecipe, matched: Matched) -> Float[Tensor, "N"]:
    """Summed over classes: positives against their target, the rest against 0.

    Nearly every row is background, so the dense pass takes all for it, and positives are computed anew.
    """
    scores, rows = matched.batch.predictions.scores, matched.prediction
    background = _class_sums(term, scores, losses[term.loss](scores, None, None, **term.options))
    own = torch.zeros_like(scores.values[rows], dtype=torch.bool)
    own.scatter_(1, matched.batch.ground_truth.labels[matched.ground_truth, None], True)
    positives = scores.take(rows)
    values = losses[term.loss](positives, _class_targets(matched), own, **term.options)
    return background.index_copy(0, rows, _class_sums(term, positives, values))


def _class_sums(term: TermRecipe, scores: ClassScores, values: Float[Tensor, "R C"]) -> Float[Tensor, "R"]:
    """Weighted sums over the classes that a row gives."""
    if scores.given is not None:
        values = torch.where(scores.given, values, 0)
    if term.class_weights is not None:
        return values @ values.new_tensor(term.class_weights)
    return values.sum(-1)


def _class_targets(matched: Matched) -> Float[Tensor, "P C"]:
    """The target of every class for each positive."""
    truth = matched.batch.ground_truth
    value = matched.targets[matched.prediction, None]
    if truth.soft_labels is not None:
        return truth.soft_labels[matched.ground_truth] * value
    rows = value.new_zeros(len(value), matched.batch.predictions.scores.values.shape[1])
    return rows.scatter(1, truth.labels[matched.ground_truth, None], value)


def _softmax(term: TermRecipe, matched: Matched) -> Float[Tensor, "N"]:
    """Each row against its box's class, or the background, which is the last one."""
    scores = matched.batch.predictions.scores
    background = scores.values.shape[1] - 1
    labels = torch.full_like(matched.assignment.ground_truth, background)
    labels[matched.prediction] = matched.batch.ground_truth.labels[matched.ground_truth]
    return losses[term.loss](scores, labels, **term.options) * class_weight_of_rows(term, matched)


def _logit(term: TermRecipe, matched: Matched) -> Float[Tensor, "N"] | None:
    """Logits, in a column named as the loss: objectness against the sign, centerness of positives alone."""
    column = getattr(matched.batch.predictions, term.loss)
    if column is None:
        return None
    if term.loss == "centerness":
        rows = matched.prediction
        return matched.spread(losses[term.loss](column[rows], matched.centerness, **term.options))
    sign = matched.assignment.positive.to(column.dtype)
    values: Tensor = losses[term.loss](column, sign, **term.options)
    return values


def _pair_weight(term: TermRecipe, matched: Matched) -> Float[Tensor, "P"]:
    if term.weighted_by == "target":
        return matched.weight * matched.targets[matched.prediction]
    if term.weighted_by == "centerness":
        return matched.weight * matched.centerness
    return matched.weight


def _pairs(term: TermRecipe, matched: Matched, recipe: Recipe) -> Float[Tensor, "P"] | None:
    """The loss of each matched pair, summed over coordinates or sides; None where a column is missing."""
    function, kind = losses[term.loss], kind_of(term.loss)
    if kind == "distribution":
        if matched.dfl is None:
            return None
        sides: Tensor = function(matched.dfl, matched.distances, **term.options)
        return sides.sum(-1)
    if kind == "overlap":
        unit = _unit(term, matched)
        overlaps: Tensor = function(matched.boxes / unit, matched.truth / unit, **term.options)
        return overlaps
    compared = _compared(term, matched, recipe)
    if compared is None:
        return None
    coordinates: Tensor = function(*compared, **term.options)
    return coordinates.sum(-1)


def _compared(term: TermRecipe, matched: Matched, recipe: Recipe) -> tuple[Tensor, Tensor] | None:
    """What a coordinate loss compares, prediction and target [P, 4]; None where a column is missing."""
    predictions, rows, truth = matched.batch.predictions, matched.prediction, matched.truth
    unit = _unit(term, matched)
    match term.compared:
        case "boxes":
            return matched.boxes / unit, truth / unit
        case "centered":
            centered = boxes.to_centered(matched.boxes)
            return centered / unit, boxes.to_centered(truth) / unit
        case "deltas" if predictions.deltas is not None and predictions.anchors is not None:
            wanted = boxes.to_deltas(predictions.anchors[rows], truth, scale=recipe.delta_scale)
            return predictions.deltas[rows], wanted
        case "raw" if predictions.raw is not None:
            return predictions.raw[rows], _raw_targets(matched)
        case "ltrb" if predictions.ltrb is not None:
            # In image units the mean of the four sides counts, as in ultralytics for heads without bins.
            sides = unit / predictions.strides[rows, None] * (4 if term.unit == "image" else 1)
            return predictions.ltrb[rows] / sides, matched.distances / sides
    return None


def _raw_targets(matched: Matched) -> Float[Tensor, "P 4"]:
    """YOLOX's (dx, dy, log w, log h), in strides from the cell's corner (`get_l1_target`)."""
    predictions, rows = matched.batch.predictions, matched.prediction
    stride = predictions.strides[rows, None]
    centered = boxes.to_centered(matched.truth) / stride
    corner = predictions.points[rows] / stride - 0.5
    return torch.cat([centered[:, :2] - corner, torch.log(centered[:, 2:] + 1e-8)], -1)


def _unit(term: TermRecipe, matched: Matched) -> Tensor | float:
    """Pixels in one unit of length, by pair and coordinate."""
    predictions, rows = matched.batch.predictions, matched.prediction
    if term.unit == "stride":
        return predictions.strides[rows, None]
    if term.unit == "image":
        assert predictions.extent is not None, "a term in image units needs the extent of the images"
        return predictions.extent[rows].repeat(1, 2)
    return 1.0
