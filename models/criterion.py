"""The loss of a batch: one assignment, then each term summed, divided once and weighted.

One criterion serves the API, the check and training: what is trained with is what can be explained.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from posneg.models.assigners import assigner
from posneg.models.negatives import negatives
from posneg.models.negatives._draw import Draw
from posneg.models.normalizers import normalizer
from posneg.models.normalizers._tally import Tally
from posneg.models.recipe import Recipe, TermRecipe
from posneg.models.terms import Matched, class_weight_of_rows, loss_rows
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


def assign(recipe: Recipe, batch: Batch, *, trace: bool = False) -> Assignment:
    """The recipe's assignment of a batch, negatives drawn; with `trace` it carries what explains it."""
    options = {**recipe.assigner_options, "trace": trace}
    assignment = assigner[recipe.assigner](batch.predictions, batch.ground_truth, **options)
    term = recipe.terms[recipe.sampled_term]
    if term.negatives["name"] == "all":
        return assignment
    return _drawn(term, recipe, batch, assignment)


def _drawn(term: TermRecipe, recipe: Recipe, batch: Batch, assignment: Assignment) -> Assignment:
    """The assignment with what the selection of negatives leaves out ignored."""
    with torch.no_grad():
        rows = loss_rows(term, Matched.of(recipe, batch, assignment), recipe)
    draw = Draw(
        positive=assignment.positive,
        negative=assignment.negative,
        losses=torch.zeros_like(assignment.iou) if rows is None else rows,
        image=batch.predictions.image,
        listed=batch.listed,
    )
    options = dict(term.negatives)
    times = negatives.bind(options.pop("name"), options)(draw)
    left_out = (times == 0) & ~assignment.ignored
    reason = torch.zeros_like(times) if assignment.reason is None else assignment.reason
    return replace(
        assignment,
        positive=assignment.positive & ~left_out,
        ignored=assignment.ignored | left_out,
        reason=torch.where(left_out, len(assignment.reasons), reason),
        reasons=(*assignment.reasons, "NOT_SAMPLED"),
        times=times,
    )


def criterion(recipe: Recipe, batch: Batch, assignment: Assignment | None = None) -> Breakdown:
    """The loss of a batch under a recipe, by term and prediction; gradients reach what the batch is made of.

    `assignment` is computed where it is not given; it carries no gradient, as in every upstream.
    """
    assignment = assign(recipe, batch) if assignment is None else assignment
    matched = Matched.of(recipe, batch, assignment)
    terms = {name: _term(name, term, matched, recipe) for name, term in recipe.terms.items()}
    total = torch.stack([term.value for term in terms.values()]).sum()
    return Breakdown(total=total, terms=terms, assignment=assignment, targets=matched.targets)


def _term(name: str, term: TermRecipe, matched: Matched, recipe: Recipe) -> Term:
    """One term: its rows, their sums by sign, divided and weighted."""
    batch, assignment = matched.batch, matched.assignment
    found = loss_rows(term, matched, recipe)
    rows = torch.zeros_like(matched.targets) if found is None else found
    if assignment.times is not None and name == recipe.sampled_term:
        rows = rows * assignment.times
    normalization = normalization_of(term, matched, recipe)
    scale = term.weight / normalization.used
    scale = scale / batch.images if term.scope == "image" else scale.expand(batch.images)
    shares = rows * scale[batch.predictions.image]
    positive = torch.where(assignment.positive, shares, 0).sum()
    negative = torch.where(assignment.positive, 0, shares).sum()
    return Term(
        weight=term.weight,
        normalization=normalization,
        rows=rows,
        scale=scale,
        raw=rows.sum(),
        value=positive + negative,
        positive=positive,
        negative=negative,
        available=found is not None,
    )


def normalization_of(term: TermRecipe, matched: Matched, recipe: Recipe) -> Normalization:
    """What a term's normalizer counts in a batch under an assignment."""
    tally = Tally(
        batch=matched.batch,
        assignment=matched.assignment,
        targets=matched.targets,
        centerness_of=lambda: matched.spread(matched.centerness),
        row_weights_of=lambda: class_weight_of_rows(recipe.terms.get("classification"), matched),
        by_image=term.scope == "image",
    )
    raw = normalizer[term.normalizer](tally).detach()
    return Normalization(name=term.normalizer, raw=raw, used=raw.clamp(min=1))
