"""The answer to a request: assignment, loss, reasons, counts, verdict and warnings."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from posneg.models.assigners import assigner
from posneg.models.criterion import Breakdown, Term, assign, criterion
from posneg.models.explain.reasons import explain
from posneg.models.losses import losses
from posneg.models.presets import resolve
from posneg.models.recipe import Recipe, TermRecipe
from posneg.models.registry import InvalidOptions
from posneg.models.types import Assignment
from posneg.service.engine.batch import Prepared, columns_of, prepare
from posneg.service.engine.finite import strict
from posneg.service.engine.groups import groups
from posneg.service.engine.rows import Explained, Rows, state_counts
from posneg.service.errors import Fault, InvalidRequest, TooLarge
from posneg.service.schemas.loss_input import LossInput, Notice

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A request with its recipe, what became of its predictions, and its loss where that was asked for."""

    recipe: Recipe
    explained: Explained
    breakdown: Breakdown | None


def answer(request: LossInput, *, loss: bool, max_pairs: int | None = None) -> Json:
    """The body of the answer to /v1/losses, or with `loss=False` to /v1/assignments.

    Raises `InvalidRequest` for options that do not fit, and `TooLarge` where more than `max_pairs` pairs of a
    prediction and a ground truth would have to be weighed.
    """
    return strict(_body(evaluate(request, loss=loss, max_pairs=max_pairs)))


def evaluate(request: LossInput, *, loss: bool, max_pairs: int | None = None) -> Evaluation:
    """What an answer tells, before it is told; raises as `answer` does."""
    _bound(request, max_pairs)
    recipe = resolved_recipe(request)
    prepared = prepare(request, recipe)
    assignment = _assignment(recipe, prepared)
    breakdown = criterion(recipe, prepared.batch, assignment) if loss else None
    gradients = (
        _gradients(breakdown, prepared.leaves) if breakdown is not None and request.gradients else None
    )
    explained = Explained(
        request=request,
        prepared=prepared,
        assignment=assignment,
        reasons=explain(prepared.batch, assignment),
        targets=breakdown.targets.tolist() if breakdown is not None else None,
        loss=_row_losses(breakdown, prepared) if breakdown is not None else None,
        gradients=gradients,
    )
    return Evaluation(recipe=recipe, explained=explained, breakdown=breakdown)


def resolved_recipe(request: LossInput) -> Recipe:
    """The recipe that a request asks for; raises `InvalidRequest` for each option that does not fit."""
    columns = columns_of(request)
    if any(i.predictions.sampled is not None for i in request.images):
        columns |= {"sampled"}
    dense = any(i.predictions.dense and "points" in i.predictions.columns for i in request.images)
    name = request.preset or ("yolov8" if dense else "textbook")
    try:
        recipe = resolve(
            name, assigner=request.assigner, loss=request.loss, columns=columns, head=request.head
        )
    except InvalidOptions as error:
        faults = [Fault("/" + "/".join(map(str, p.path)), str(p), "invalid_option") for p in error.problems]
        raise InvalidRequest(str(error), faults=faults) from error
    _check_classes(recipe, len(request.classes))
    check_needs(recipe, request)
    return recipe


def _bound(request: LossInput, max_pairs: int | None) -> None:
    pairs = sum(len(i.ground_truth.boxes) * i.predictions.count for i in request.images)
    if max_pairs is not None and pairs > max_pairs:
        raise TooLarge(
            f"{pairs} pairs of a prediction and a ground truth; at most {max_pairs} in one request: "
            "send fewer images at once"
        )


def _check_classes(recipe: Recipe, classes: int) -> None:
    weights = recipe.terms["classification"].class_weights if "classification" in recipe.terms else None
    if weights is not None and len(weights) != classes:
        detail = f"has {len(weights)} weights for {classes} classes"
        raise InvalidRequest.at("/loss/classification/class_weights", detail, "wrong_length")


def check_needs(recipe: Recipe, request: LossInput) -> None:
    """Raise `InvalidRequest` for what the recipe cannot do without, for each image that lacks it."""
    columns = columns_of(request)
    needs = recipe.needs | ({"size"} if any(t.unit == "image" for t in recipe.terms.values()) else set())
    filled = [(n, image) for n, image in enumerate(request.images) if image.predictions.count]
    faults = []
    for name in sorted(needs):
        for number, image in filled:
            missing = image.size is None if name == "size" else name not in columns
            if missing:
                place = "" if name == "size" else "/predictions"
                detail = f"the preset {recipe.preset!r} cannot do without {name!r}"
                faults.append(Fault(f"/images/{number}{place}/{name}", detail, "missing"))
    if faults:
        raise InvalidRequest(f"{faults[0].pointer}: {faults[0].detail}", faults=faults)


def _assignment(recipe: Recipe, prepared: Prepared) -> Assignment:
    """The traced assignment; predictions that were set aside are ignored."""
    assignment = assign(recipe, prepared.batch, trace=True)
    aside = torch.tensor([reason is not None for reason in prepared.set_aside], dtype=torch.bool)
    return replace(assignment, positive=assignment.positive & ~aside, ignored=assignment.ignored | aside)


def _gradients(breakdown: Breakdown, leaves: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    """d total / d each leaf; zeros where the total does not depend on one."""
    wanted = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    if not breakdown.total.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in wanted.items()}
    found = torch.autograd.grad(breakdown.total, list(wanted.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(wanted.items(), found, strict=True)
    }


def _row_losses(breakdown: Breakdown, prepared: Prepared) -> dict[str, list[float]]:
    """Each prediction's share of each term's value."""
    image = prepared.batch.predictions.image
    return {name: (t.rows * t.scale[image]).tolist() for name, t in breakdown.terms.items()}


def _body(evaluation: Evaluation) -> Json:
    explained, breakdown = evaluation.explained, evaluation.breakdown
    by_image = state_counts(explained.prepared.batch, explained.assignment, explained.request)
    body = _overview(evaluation, by_image)
    if explained.request.group_by and breakdown is not None:
        body["groups"] = groups(explained, breakdown)
    rows = Rows(explained)
    body["images"] = [
        _image(rows, number, counts, breakdown, explained) for number, counts in enumerate(by_image)
    ]
    return body


def overview(evaluation: Evaluation) -> Json:
    """An answer without its images: total, terms, counts, verdict, warnings, and the recipe in full."""
    explained = evaluation.explained
    by_image = state_counts(explained.prepared.batch, explained.assignment, explained.request)
    return _overview(evaluation, by_image)


def _overview(evaluation: Evaluation, by_image: list[dict[str, int]]) -> Json:
    explained, recipe, breakdown = evaluation.explained, evaluation.recipe, evaluation.breakdown
    request = explained.request
    counts = {name: sum(c[name] for c in by_image) for name in _COUNTS}
    body: Json = {}
    if breakdown is not None:
        body["total"] = breakdown.total.item()
        ids = [image.id for image in request.images]
        body["terms"] = {n: _term(recipe.terms[n], t, ids) for n, t in breakdown.terms.items()}
    body["counts"] = counts
    body["verdict"] = _verdict(explained, counts, breakdown)
    body["warnings"] = [_notice(n) for n in [*request.notices, *_notices(explained, recipe, breakdown)]]
    body["resolved"] = _resolved(request, recipe)
    return body


_COUNTS = (
    "images",
    "ground_truth",
    "ground_truth_unassigned",
    "ground_truth_ignored",
    "predictions",
    "positive",
    "negative",
    "ignored",
)


def _image(
    rows: Rows, number: int, counts: dict[str, int], breakdown: Breakdown | None, explained: Explained
) -> Json:
    request = explained.request
    image: Json = {"id": request.images[number].id}
    if breakdown is not None:
        first, end = rows.first_prediction[number], rows.first_prediction[number + 1]
        terms = {
            name: (t.rows[first:end].sum() * t.scale[number]).item() for name, t in breakdown.terms.items()
        }
        image |= {"total": sum(terms.values()), "terms": terms}
    image["counts"] = counts
    if request.detail != "summary":
        image["predictions"] = rows.predictions(number, request.detail)
        image["ground_truth"] = rows.ground_truth(number)
    return image


def _term(recipe: TermRecipe, term: Term, image_ids: list[str | int]) -> Json:
    if not term.available:
        normalizer = {"name": recipe.normalizer, "raw": None, "used": None, "clamped": False}
        return {
            "raw": None,
            "weight": recipe.weight,
            "normalizer": normalizer,
            "value": 0.0,
            "positive": 0.0,
            "negative": 0.0,
            "available": False,
        }
    raw, value = term.raw.item(), term.value.item()
    return {
        "raw": raw,
        "weight": recipe.weight,
        "normalizer": _normalizer(recipe, term, raw, value, image_ids),
        "value": value,
        "positive": term.positive.item(),
        "negative": term.negative.item(),
    }


def _normalizer(recipe: TermRecipe, term: Term, raw: float, value: float, image_ids: list[str | int]) -> Json:
    """The divisor; where it is one an image, each of them and the effective one."""
    counted, used = term.normalization.raw.tolist(), term.normalization.used.tolist()
    if recipe.scope == "batch":
        return {
            "name": recipe.normalizer,
            "raw": counted[0],
            "used": used[0],
            "clamped": counted[0] != used[0],
        }
    return {
        "name": recipe.normalizer,
        "scope": "image",
        "raw": sum(counted),
        "used": recipe.weight * raw / value if value else 1.0,
        "clamped": counted != used,
        "per_image": [
            {"image": image, "raw": r, "used": u, "clamped": r != u}
            for image, r, u in zip(image_ids, counted, used, strict=True)
        ],
    }


def _verdict(explained: Explained, counts: dict[str, int], breakdown: Breakdown | None) -> str:
    nonfinite = "NONFINITE" in [*explained.prepared.set_aside, *explained.prepared.excluded]
    if nonfinite or (breakdown is not None and not bool(breakdown.total.isfinite())):
        return "nonfinite"
    present = counts["ground_truth"] - counts["ground_truth_ignored"]
    return "vacuous" if present and not counts["positive"] else "ok"


def _notices(explained: Explained, recipe: Recipe, breakdown: Breakdown | None) -> list[Notice]:
    """What a caller should know of how the request was read and weighed."""
    found = []
    if breakdown is not None:
        for name, term in breakdown.terms.items():
            if not term.available:
                detail = f"{name} needs a column that was not sent; it counts 0"
                found.append(Notice(code="TERM_NOT_AVAILABLE", detail=detail))
        if missing := _scores_missing(explained):
            detail = (
                f"{missing} positives have no score for their class and pay no classification loss for it"
            )
            found.append(Notice(code="SCORE_MISSING", detail=detail))
    topk = recipe.assigner_options.get("topk")
    short = [
        i
        for i in explained.request.images
        if len(i.ground_truth.boxes) and topk and i.predictions.count < topk
    ]
    if short and recipe.flavor in ("ultralytics", "ppdet"):
        detail = f"{len(short)} images have fewer predictions than topk {topk}; all of theirs are ranked"
        found.append(Notice(code="TOPK_CLAMPED", detail=detail))
    if unused := sorted(
        {"objectness", "centerness"} & explained.prepared.leaves.keys() - recipe.terms.keys()
    ):
        detail = f"{recipe.preset} has no term for the columns {', '.join(unused)}"
        found.append(Notice(code="COLUMN_NOT_USED", detail=detail))
    unusable = [reason for reason in explained.prepared.excluded if reason == "DEGENERATE"]
    if unusable:
        detail = f"{len(unusable)} ground truths have no area; they are unassigned"
        found.append(Notice(code="DEGENERATE_GROUND_TRUTH", detail=detail))
    return found


def _scores_missing(explained: Explained) -> int:
    given = explained.prepared.batch.predictions.scores.given
    if given is None:
        return 0
    assignment = explained.assignment
    rows = assignment.positive.nonzero().squeeze(1)
    labels = explained.prepared.batch.ground_truth.labels[assignment.ground_truth[rows]]
    return int((~given[rows, labels]).sum())


def _notice(notice: Notice) -> Json:
    return {key: value for key, value in asdict(notice).items() if value is not None}


def _resolved(request: LossInput, recipe: Recipe) -> Json:
    """The recipe in full, and the version of the rules behind each name."""
    terms = {
        name: {"name": term.loss, **_common(name, term), **term.options}
        for name, term in recipe.terms.items()
    }
    used = {
        recipe.assigner: assigner[recipe.assigner],
        **{t.loss: losses[t.loss] for t in recipe.terms.values()},
    }
    return {
        "preset": recipe.preset,
        "assigner": {"name": recipe.assigner, **_assigner_options(recipe)},
        "loss": terms,
        "classes": request.classes,
        "box_format": request.box_format,
        "dtype": request.dtype,
        "semantics": {n: sys.modules[function.__module__].SEMANTICS for n, function in used.items()},
    }


def _assigner_options(recipe: Recipe) -> Json:
    """Every option; a null that stands for the flavor's own default is told as that."""
    module = sys.modules[assigner[recipe.assigner].__module__]
    by_flavor: Mapping[str, Mapping[str, Any]] = getattr(module, "BY_FLAVOR", {})
    flavor = str(recipe.assigner_options.get("flavor"))
    return {
        name: by_flavor[name][flavor] if value is None and name in by_flavor else value
        for name, value in recipe.assigner_options.items()
    }


def _common(name: str, term: TermRecipe) -> Json:
    common: Json = {"weight": term.weight, "normalizer": term.normalizer, "scope": term.scope}
    if name == "classification":
        common |= {
            "negatives": term.negatives,
            "negative_weight": term.negative_weight,
            "class_weights": term.class_weights,
            "target": term.target,
        }
    return common
