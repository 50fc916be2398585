"""What a term would be if some of its ingredients came from one run and the rest from another.

Six ingredients make a term: ground truth, predictions, the assignment as it came out, the divisor as it was
used, weights, and the formula. Assignment and divisor are data here, not rules, so that every mixture can be
evaluated, whatever assigner made them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from posneg.models import boxes
from posneg.models.criterion import Breakdown
from posneg.models.explain.slots import Slots
from posneg.models.losses import kind_of
from posneg.models.recipe import Recipe, TermRecipe
from posneg.models.terms import Matched, loss_rows
from posneg.models.types import Assignment, Batch, ClassScores, GroundTruth, Predictions

Ingredient = Literal["ground_truth", "predictions", "assignment", "normalizer", "weights", "formula"]
INGREDIENTS: tuple[Ingredient, ...] = (
    "ground_truth",
    "predictions",
    "assignment",
    "normalizer",
    "weights",
    "formula",
)
Mixture = Mapping[Ingredient, int]
"""For each ingredient the run that it comes from: 0 for a, 1 for b."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A run's inputs as one recipe reads them: decoded, in its dtype. `excluded` boxes take no part."""

    batch: Batch
    excluded: Bool[Tensor, "G"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One side of a comparison.

    `readings` are its inputs as the recipe of run a reads them, and as that of run b does. `region` is the
    ignored box that excuses a prediction, -1 where none does. Labels and columns of scores count `classes`.
    `reported` are values of terms as somebody else's code, or older code, gave them for these ingredients.
    """

    recipe: Recipe
    classes: Sequence[str]
    readings: tuple[Reading, Reading]
    assignment: Assignment
    region: Int[Tensor, "N"]
    breakdown: Breakdown
    reported: Mapping[str, float] = field(default_factory=dict)

    def value(self, term: str) -> float:
        """A term's value as it was reported, else as it comes out today."""
        return self.reported.get(term, self.breakdown.terms[term].value.item())

    def divisor(self, term: str) -> Float[Tensor, "B"]:
        """What each image's rows are divided by; the mean over images is part of it."""
        found = self.breakdown.terms[term]
        used = found.normalization.used.double()
        images = len(found.scale)
        return used * images if self.recipe.terms[term].scope == "image" else used.expand(images)

    def times(self, term: str) -> Tensor | None:
        """How often each prediction counts in a term; None: once."""
        return self.assignment.times if term == self.recipe.sampled_term else None


def region_of(batch: Batch, assignment: Assignment) -> Int[Tensor, "N"]:
    """The ignored box that covers most of each prediction which a region excuses, -1 elsewhere."""
    region = torch.full_like(assignment.ground_truth, -1)
    if assignment.reason is None or "IGNORED_BY_REGION" not in assignment.reasons:
        return region
    excused = assignment.ignored & (assignment.reason == assignment.reasons.index("IGNORED_BY_REGION"))
    predictions, truth = batch.predictions, batch.ground_truth
    placed = predictions.boxes.detach() if predictions.anchors is None else predictions.anchors
    for row in excused.nonzero().squeeze(1).tolist():
        candidates = (truth.ignore & (truth.image == predictions.image[row])).nonzero().squeeze(1)
        if len(candidates):
            region[row] = candidates[boxes.iof(placed[row, None], truth.boxes[candidates]).argmax()]
    return region


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two runs and how their rows stand side by side."""

    runs: tuple[Run, Run]
    slots: Slots

    def divisor(self, term: str, side: int) -> Float[Tensor, "I"]:
        """A run's divisors by slot of images; an image that it has not is divided as in the other run."""
        own, other = self.runs[side].divisor(term), self.runs[1 - side].divisor(term)
        where, elsewhere = self.slots.images[side], self.slots.images[1 - side]
        if self.runs[side].recipe.terms[term].scope == "batch" and len(own):
            return own[:1].expand(len(where))
        scale = (
            len(own) / max(len(other), 1) if self.runs[1 - side].recipe.terms[term].scope == "image" else 1
        )
        there = where >= 0
        found = torch.ones(len(where), dtype=torch.float64)
        found[there] = own[where[there]]
        found[~there] = other[elsewhere[~there]] * scale
        return found

    def shares(self, name: str, mixture: Mixture, chosen: Int[Tensor, "U"]) -> Float[Tensor, "U"]:
        """What each of some slots of predictions pays in the mixture: divided, weighted, in float64."""
        formula = self.runs[mixture["formula"]].recipe
        slots = self.slots
        side = mixture["predictions"]
        reading = self.runs[side].readings[mixture["formula"]]
        rows = slots.predictions.row[side][chosen]
        there = rows >= 0
        if reading.batch.predictions.finite is not None:
            there = there & (_at(reading.batch.predictions.finite, rows) == 1)
        found = torch.zeros(len(chosen), dtype=torch.float64)
        if not bool(there.any()):
            return found
        matched, times = self._matched(name, mixture, chosen[there], rows[there])
        values = loss_rows(self._term(name, mixture), matched, formula)
        if values is None:
            return found
        values = values.detach().double() * (1 if times is None else times)
        weight = self.runs[mixture["weights"]].recipe.terms[name].weight
        divisor = self.divisor(name, mixture["normalizer"])[slots.image[chosen[there]]]
        return found.index_put((there.nonzero().squeeze(1),), values * (weight / divisor))

    def _matched(
        self, name: str, mixture: Mixture, chosen: Int[Tensor, "U"], rows: Int[Tensor, "U"]
    ) -> tuple[Matched, Tensor | None]:
        """The predictions at `rows` under the mixture's assignment, and how often each counts.

        A prediction that the assignment does not know, or whose box or region the ground truth does not have,
        is a negative.
        """
        predicting, formula = self.runs[mixture["predictions"]], mixture["formula"]
        side = mixture["assignment"]
        assigning = self.runs[side]
        truth = self._ground_truth(mixture, softmax=_is_softmax(self.runs[formula].recipe.terms[name]))
        own = self.slots.predictions.row[side][chosen]
        assignment = assigning.assignment
        positive = _at(assignment.positive, own) == 1
        ignored = _at(assignment.ignored, own) == 1
        box = self._box(torch.where(positive, _at(assignment.ground_truth, own), -1), mixture)
        region = _at(assigning.region, own, -1)
        ignored &= (region < 0) | (self._box(region, mixture) >= 0)
        positive &= box >= 0
        own_reading = predicting.readings[formula].batch
        dtype = own_reading.predictions.boxes.dtype
        targets = torch.where(positive, _at(assigning.breakdown.targets.detach(), own), 0).to(dtype)
        batch = Batch(
            predictions=_rows_of(own_reading.predictions, rows),
            ground_truth=truth,
            images=own_reading.images,
        )
        pairs = _assignment(positive, ignored, torch.where(positive, box, 0), targets, truth)
        matched = Matched.of(self.runs[formula].recipe, batch, pairs, targets)
        times = assigning.times(name)
        return matched, None if times is None else torch.where(own >= 0, _at(times, own), 1)

    def _box(self, box: Int[Tensor, "U"], mixture: Mixture) -> Int[Tensor, "U"]:
        """Boxes of the run that assigned, as the run whose ground truth counts numbers them; -1 for none."""
        side, wanted = mixture["assignment"], mixture["ground_truth"]
        if side != wanted:
            box = _at(self.slots.ground_truth.other[side], box, -1)
        excluded = self.runs[wanted].readings[mixture["formula"]].excluded
        return torch.where(_at(excluded, box) == 1, -1, box)

    def _ground_truth(self, mixture: Mixture, *, softmax: bool) -> GroundTruth:
        """The mixture's boxes, their classes numbered as the predictions' columns are.

        For a class that the columns lack nothing is paid: it has no share, or in a softmax no weight.
        """
        source = self.runs[mixture["ground_truth"]]
        truth = source.readings[mixture["formula"]].batch.ground_truth
        columns = self.runs[mixture["predictions"]].classes
        if list(source.classes) == list(columns):
            return truth
        where = {name: number for number, name in enumerate(columns)}
        number = torch.tensor([where.get(name, -1) for name in source.classes] or [-1])
        shares = torch.zeros(len(truth.labels), max(len(columns), 1), dtype=truth.boxes.dtype)
        own = torch.nn.functional.one_hot(truth.labels, max(len(source.classes), 1)).to(shares.dtype)
        known = number >= 0
        shares[:, number[known]] = (own if truth.soft_labels is None else truth.soft_labels)[:, known]
        labels = number[truth.labels]
        weight = torch.where(labels < 0, 0, truth.weight) if softmax else truth.weight
        return replace(truth, labels=labels.clamp(min=0), soft_labels=shares, weight=weight)

    def _term(self, name: str, mixture: Mixture) -> TermRecipe:
        """The formula of one run with the weights of another, class by class."""
        formula = self.runs[mixture["formula"]].recipe.terms[name]
        weighing = self.runs[mixture["weights"]]
        weights = weighing.recipe.terms[name]
        options: dict[str, Any] = dict(formula.options)
        if "background_weight" in options:
            options["background_weight"] = weights.options.get("background_weight", 1.0)
        by_class = weights.class_weights
        columns = self.runs[mixture["predictions"]].classes
        if by_class is not None and list(columns) != list(weighing.classes):
            named = dict(zip(weighing.classes, by_class, strict=True))
            by_class = tuple(named.get(label, 1.0) for label in columns)
        return replace(
            formula,
            options=options,
            weight=weights.weight,
            negative_weight=weights.negative_weight,
            class_weights=by_class,
        )


def weights_of(run: Run, name: str) -> dict[str, Any]:
    """What a term's rows are multiplied by, by parameter."""
    term = run.recipe.terms[name]
    by_class = None
    if term.class_weights is not None:
        by_class = dict(zip(run.classes, term.class_weights, strict=True))
    return {
        "weight": term.weight,
        "negative_weight": term.negative_weight,
        "class_weights": by_class,
        "background_weight": term.options.get("background_weight"),
    }


def formula_of(run: Run, name: str) -> dict[str, Any]:
    """What a term's rows are computed by, by parameter; weights and divisor apart."""
    term, recipe = run.recipe.terms[name], run.recipe
    formula: dict[str, Any] = {"name": term.loss, **term.options}
    formula.pop("background_weight", None)
    formula |= {
        "positives_only": term.positives_only,
        "dtype": str(run.breakdown.total.dtype).removeprefix("torch."),
    }
    if kind_of(term.loss) not in ("classification", "softmax"):
        formula |= {
            "compared": term.compared,
            "unit": term.unit,
            "weighted_by": term.weighted_by,
            "point_offset": recipe.point_offset,
            "delta_scale": recipe.delta_scale,
            "bounded_deltas": recipe.bounded_deltas,
        }
    return formula


def _is_softmax(term: TermRecipe) -> bool:
    return kind_of(term.loss) == "softmax"


def _at(values: Tensor, rows: Int[Tensor, "U"], missing: int = 0) -> Tensor:
    """Values at some rows, and `missing` where the row is -1."""
    if not len(values):
        return torch.full_like(rows, missing, dtype=values.dtype)
    return torch.where(rows >= 0, values[rows.clamp(min=0)], missing)


def _rows_of(predictions: Predictions, rows: Int[Tensor, "U"]) -> Predictions:
    """Some rows of every column, without gradients."""
    columns: dict[str, Any] = {}
    for column in fields(predictions):
        value = getattr(predictions, column.name)
        if isinstance(value, ClassScores):
            columns[column.name] = value.take(rows)
        elif isinstance(value, Tensor):
            columns[column.name] = value[rows].detach()
    return replace(predictions, **columns)


def _assignment(
    positive: Tensor, ignored: Tensor, box: Tensor, targets: Tensor, truth: GroundTruth
) -> Assignment:
    """What the losses look at of an assignment."""
    return Assignment(
        positive=positive,
        ignored=ignored,
        ground_truth=box,
        iou=targets,
        metric=targets,
        quality=targets,
        degenerate=torch.zeros_like(truth.ignore),
    )
