"""What moved between two runs, and why: flips, and each term's move split over what may have made it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from posneg.models.explain.causes import causes, normalizer_holds
from posneg.models.explain.mixture import INGREDIENTS, Pair, Reading, Run, region_of
from posneg.models.explain.parts import Outcomes, TermParts, outcomes, parts_of
from posneg.models.explain.slots import Slots, same_inputs, side_by_side
from posneg.service.engine.answer import Evaluation, check_needs, evaluate, overview
from posneg.service.engine.batch import Prepared, prepare
from posneg.service.engine.content import frames
from posneg.service.engine.finite import strict
from posneg.service.engine.rows import Rows
from posneg.service.errors import InvalidRequest
from posneg.service.schemas.comparison import MAX_FLIPS, MAX_ROWS, Variant, relocated

Json = dict[str, Any]


def compare(variants: Sequence[Variant], *, tie_eps: float, max_pairs: int | None = None) -> Json:
    """Each variant in short, and what moved from the first one to each other.

    A flip whose relative margin is below `tie_eps` in both runs is a tie. Raises as `answer` does, with
    pointers into the whole body.
    """
    sides = [Side(variant, _evaluated(variant, max_pairs)) for variant in variants]
    return strict(
        {
            "variants": [{"name": side.variant.name, **overview(side.evaluation)} for side in sides],
            "pairs": [_pair(sides[0], side, tie_eps) for side in sides[1:]],
        }
    )


@dataclass(frozen=True, slots=True)
class Side:
    """A variant and what came of it."""

    variant: Variant
    evaluation: Evaluation


def _evaluated(variant: Variant, max_pairs: int | None) -> Evaluation:
    try:
        return evaluate(replace(variant.request, gradients=False), loss=True, max_pairs=max_pairs)
    except InvalidRequest as problem:
        raise relocated(problem, variant.place) from problem


def _pair(a: Side, b: Side, tie_eps: float) -> Json:
    slots = _slots(a.evaluation, b.evaluation)
    told = Told(rows=(Rows(a.evaluation.explained), Rows(b.evaluation.explained)), slots=slots)
    found = outcomes(Pair(runs=(_run(a, (None, None)), _run(b, (None, None))), slots=slots))
    flips = list(_flips(told, found, tie_eps))
    ties = torch.zeros_like(found.flipped)
    ties[[number for number, flip in flips if flip["tie"]]] = True
    return {
        "a": a.variant.name,
        "b": b.variant.name,
        "flips": [flip for _, flip in flips[:MAX_FLIPS]],
        "flips_left_out": max(len(flips) - MAX_FLIPS, 0),
        "explanation": _explanation(a, b, found, ties, told),
    }


def _slots(a: Evaluation, b: Evaluation) -> Slots:
    ours, theirs = a.explained.request, b.explained.request
    if ours.images is theirs.images:
        batch = a.explained.prepared.batch
        return same_inputs(batch.images, len(batch.ground_truth.labels), batch.predictions.image)
    return side_by_side(*frames(a, b))


def _run(side: Side, readers: tuple[Evaluation | None, Evaluation | None]) -> Run:
    """A run and its inputs as the recipes of both read them; None stands for its own."""
    own = side.evaluation
    assert own.breakdown is not None, "runs are compared by their loss"
    explained = own.explained
    here = _reading(explained.prepared)
    readings = [here if reader is None else _read_by(own, reader, here) for reader in readers]
    return Run(
        recipe=own.recipe,
        classes=explained.request.classes,
        readings=(readings[0], readings[1]),
        assignment=explained.assignment,
        region=region_of(explained.prepared.batch, explained.assignment),
        breakdown=own.breakdown,
        reported={name: v for name, v in side.variant.observed.items() if name in own.recipe.terms},
    )


def _read_by(own: Evaluation, reader: Evaluation, here: Reading) -> Reading:
    request, dtype = own.explained.request, reader.explained.request.dtype
    if own.recipe == reader.recipe and request.dtype == dtype:
        return here
    check_needs(reader.recipe, request)
    return _reading(prepare(replace(request, dtype=dtype, gradients=False), reader.recipe))


def _reading(prepared: Prepared) -> Reading:
    excluded = torch.tensor([reason is not None for reason in prepared.excluded], dtype=torch.bool)
    return Reading(batch=prepared.batch, excluded=excluded)


class Told:
    """How the slots of two runs are called, by the ids that the callers gave."""

    def __init__(self, rows: tuple[Rows, Rows], slots: Slots) -> None:
        self.rows = rows
        self.slots = slots
        self.row = slots.predictions.row.tolist()
        self.image = slots.image.tolist()
        self.images = slots.images.tolist()

    def side(self, slot: int) -> int:
        """The run to call a slot by: b, or a for what b has not."""
        return 1 if self.row[1][slot] >= 0 else 0

    def prediction(self, slot: int) -> Json:
        """Image and prediction of a slot."""
        side = self.side(slot)
        image = self.images[side][self.image[slot]]
        request = self.rows[side].explained.request
        names = self.rows[side].names(image, self.row[side][slot])
        return {"image": request.images[image].id, **names}

    def box(self, slot: int) -> Json:
        """The box that a slot's prediction answers for: in run b, else in run a, else none."""
        for side in (1, 0):
            number = self.row[side][slot]
            if number >= 0 and self.rows[side].positive[number]:
                image = self.images[side][self.image[slot]]
                return self.rows[side].box(image, self.rows[side].matched[number])
        return {"ground_truth": None, "ground_truth_index": None}

    def outcome(self, slot: int, side: int) -> Json:
        """What became of a slot's prediction in one run."""
        number = self.row[side][slot]
        if number < 0:
            return {"state": "absent", "ground_truth": None, "reason": None, "margin": None}
        return self.rows[side].outcome(self.images[side][self.image[slot]], number)


def _flips(told: Told, found: Outcomes, tie_eps: float) -> Iterator[tuple[int, Json]]:
    """The slots whose prediction changed its state or its box."""
    for slot in found.flipped.nonzero().squeeze(1).tolist():
        a, b = told.outcome(slot, 0), told.outcome(slot, 1)
        tie = all(o["margin"] is not None and abs(o["margin"]) < tie_eps for o in (a, b))
        reason = "TIE" if tie else b["reason"] or "ABSENT"
        yield slot, {**told.prediction(slot), "reason": reason, "tie": tie, "a": a, "b": b}


def _explanation(a: Side, b: Side, found: Outcomes, ties: Tensor, told: Told) -> Json:
    try:
        runs = _run(a, (None, b.evaluation)), _run(b, (a.evaluation, None))
    except InvalidRequest as problem:
        return {"unavailable": f"the recipe of one side cannot read what the other sent: {problem.detail}"}
    pair = Pair(runs=runs, slots=told.slots)
    ours, theirs = (run.recipe.terms for run in runs)
    terms: dict[str, Json] = {}
    parts: dict[str, TermParts] = {}
    for name in [*ours, *(n for n in theirs if n not in ours)]:
        if name not in ours or name not in theirs:
            terms[name] = _without_parts(pair, name, f"only {'a' if name in ours else 'b'} has it")
        elif split := parts_of(pair, name, found):
            parts[name] = split
            terms[name] = _parts_json(pair, name, split, found, ties)
        else:
            terms[name] = _without_parts(pair, name, "a value is not finite")
    rows, left_out = _rows(parts, told)
    return {
        "terms": terms,
        "causes": [
            {"link": c.link, "detail": c.detail, **({"term": c.term} if c.term else {})}
            for c in causes(pair, found)
        ],
        "rows": rows,
        "rows_left_out": left_out,
    }


def _without_parts(pair: Pair, name: str, reason: str) -> Json:
    """A move that cannot be split."""
    values = [run.value(name) if name in run.breakdown.terms else 0.0 for run in pair.runs]
    return {"delta": values[1] - values[0], "unavailable": reason}


def _parts_json(pair: Pair, name: str, split: TermParts, found: Outcomes, ties: Tensor) -> Json:
    assignment = split.slots.get("assignment", torch.zeros(len(found.flipped), dtype=torch.float64))
    matches = assignment[found.flipped].sum().item()
    tied = assignment[ties].sum().item()
    if bool(ties.any()) and bool((ties == found.flipped).all()) and normalizer_holds(pair, name):
        tied += split.part("normalizer")
    parts: dict[str, float] = {ingredient: split.part(ingredient) for ingredient in INGREDIENTS}
    return {
        "delta": split.delta,
        **parts,
        "assignment_matches": matches,
        "assignment_targets": assignment[~found.flipped].sum().item(),
        "ties": tied,
    }


def _rows(parts: dict[str, TermParts], told: Told) -> tuple[list[Json], int]:
    """The slots that moved most, term by term and part by part, and how many others moved."""
    keys = [(term, part) for term, split in parts.items() for part in split.slots]
    if not keys:
        return [], 0
    values = torch.stack([parts[term].slots[part] for term, part in keys])
    moved = int((values != 0).sum())
    largest = values.abs().flatten().sort(descending=True, stable=True).indices[: min(MAX_ROWS, moved)]
    rows = []
    for place in largest.tolist():
        (term, part), slot = keys[place // values.shape[1]], place % values.shape[1]
        value = values[place // values.shape[1], slot].item()
        rows.append({**told.prediction(slot), **told.box(slot), "term": term, "part": part, "value": value})
    return rows, moved - len(rows)
