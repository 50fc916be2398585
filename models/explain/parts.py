"""How much of a term's move each of its ingredients makes: Shapley values, by slot, so that every sum closes.

Shapley, "A value for n-person games", 1953: an ingredient's part is what its change adds, averaged over all
orders in which the ingredients may change.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from posneg.models.explain.mixture import INGREDIENTS, Ingredient, Mixture, Pair, formula_of, weights_of

ROUNDING = 1e-12
"""Relative; computed numbers that are closer are equal: the order of rows may change their last bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What became of each slot's prediction in the two runs, side by side.

    `state` [2, U] is 0 for a negative, 1 for a positive, 2 for an ignored one; `box` the slot's match or
    region as run a numbers it, and beyond those as run b does, -1 for none. `flipped` slots changed either.
    """

    state: Int[Tensor, "2 U"]
    box: Int[Tensor, "2 U"]
    target: Float[Tensor, "2 U"]
    flipped: Bool[Tensor, "U"]
    retargeted: Bool[Tensor, "U"]
    box_altered: Bool[Tensor, "U"]


def outcomes(pair: Pair) -> Outcomes:
    """States, boxes and targets of both runs, slot by slot."""
    state, box, target, altered = [], [], [], []
    links = pair.slots.ground_truth
    for side, run in enumerate(pair.runs):
        rows = pair.slots.predictions.row[side]
        positive, ignored = _picked(run.assignment.positive, rows), _picked(run.assignment.ignored, rows)
        matched = _picked(run.assignment.ground_truth, rows)
        own = torch.where(positive == 1, matched, torch.where(rows >= 0, _picked(run.region, rows), -1))
        marks = _picked(links.altered(side), torch.where(own >= 0, own, -1))
        altered.append((marks == 1) & (own >= 0))
        state.append(positive.long() + 2 * ignored.long())
        if side == 1 and len(own):
            alone = own + len(links.other[0])
            there = _picked(links.other[1], own)
            own = torch.where(own < 0, -1, torch.where(there >= 0, there, alone))
        box.append(own)
        target.append(torch.where(positive == 1, _picked(run.breakdown.targets.detach().double(), rows), 0))
    states, boxes, targets = torch.stack(state), torch.stack(box), torch.stack(target)
    flipped = (states[0] != states[1]) | (boxes[0] != boxes[1])
    return Outcomes(
        state=states,
        box=boxes,
        target=targets,
        flipped=flipped,
        retargeted=~_close(targets[0], targets[1]) & ~flipped,
        box_altered=altered[0] | altered[1],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TermParts:
    """The move of one term, by ingredient and slot of predictions; `delta` is the move as reported.

    `slots` has the ingredients that differ alone. `rest` is what each run reported beyond the sum of its
    slots, b minus a: it belongs to the formula. In float64 it is 0 for what today's code reported; else it is
    the rounding of sums, or what older code gave.
    """

    delta: float
    slots: dict[Ingredient, Float[Tensor, "U"]]
    rest: float

    def part(self, ingredient: Ingredient) -> float:
        """What one ingredient adds; exactly 0 where it does not differ."""
        found = self.slots[ingredient].sum().item() if ingredient in self.slots else 0.0
        return found + (self.rest if ingredient == "formula" else 0.0)


def differing(pair: Pair, name: str, found: Outcomes) -> dict[Ingredient, Bool[Tensor, "U"]]:
    """Which slots each ingredient of a term differs for; those that differ for none are left out."""
    a, b = pair.runs
    times = torch.stack([_times(pair, name, side) for side in (0, 1)])
    reassigned = found.flipped | found.retargeted | (times[0] != times[1])
    everywhere = torch.ones_like(reassigned)
    divided = ~_close(pair.divisor(name, 0), pair.divisor(name, 1))
    marks: dict[Ingredient, Tensor] = {
        "ground_truth": found.box_altered,
        "predictions": ~pair.slots.predictions.equal,
        "assignment": reassigned,
        "normalizer": everywhere & divided.any(),
        "weights": everywhere & (weights_of(a, name) != weights_of(b, name)),
        "formula": everywhere & (formula_of(a, name) != formula_of(b, name)),
    }
    return {ingredient: marks[ingredient] for ingredient in INGREDIENTS if bool(marks[ingredient].any())}


def parts_of(pair: Pair, name: str, found: Outcomes) -> TermParts | None:
    """The parts of a term that both runs have; None where a number of a run or of a mixture is not finite.

    Slots for which the same ingredients differ are weighed together: the others cannot matter there.
    """
    values = [run.value(name) for run in pair.runs]
    marks = differing(pair, name, found)
    slots = {i: torch.zeros(len(found.flipped), dtype=torch.float64) for i in marks}
    key = sum((mark.long() << bit for bit, mark in enumerate(marks.values())), found.flipped.long() * 0)
    for group in torch.unique(key).tolist():
        chosen = (key == group).nonzero().squeeze(1)
        players = [i for bit, i in enumerate(marks) if group >> bit & 1]
        for ingredient, share in shapley(players, _game(pair, name, chosen)).items():
            slots[ingredient][chosen] = share
    finite = all(bool(share.isfinite().all()) for share in slots.values())
    if not finite or not math.isfinite(values[0]) or not math.isfinite(values[1]):
        return None
    return TermParts(delta=values[1] - values[0], slots=slots, rest=_rest(values, slots))


def shapley(
    players: Sequence[Ingredient], value: Callable[[frozenset[Ingredient]], Float[Tensor, "U"]]
) -> dict[Ingredient, Float[Tensor, "U"]]:
    """Each player's part of value(all) - value(none), by slot: 2^d values for d players."""
    count = len(players)
    parts: dict[Ingredient, Tensor] = {}
    for size in range(count + 1) if count else ():
        joining = 1 / (count * math.comb(count - 1, size - 1)) if size else 0.0
        staying = 1 / (count * math.comb(count - 1, size)) if size < count else 0.0
        for coalition in map(frozenset, combinations(players, size)):
            worth = value(coalition)
            for player in players:
                signed = worth * (joining if player in coalition else -staying)
                parts[player] = parts[player] + signed if player in parts else signed
    return parts


def _game(
    pair: Pair, name: str, chosen: Int[Tensor, "U"]
) -> Callable[[frozenset[Ingredient]], Float[Tensor, "U"]]:
    def value(changed: frozenset[Ingredient]) -> Tensor:
        return pair.shares(name, _mixture(changed), chosen)

    return value


def _mixture(changed: frozenset[Ingredient]) -> Mixture:
    return {ingredient: int(ingredient in changed) for ingredient in INGREDIENTS}


def _rest(values: Sequence[float], slots: Mapping[Ingredient, Tensor]) -> float:
    """What the runs reported beyond the sums of their slots; rounding of sums in float64 is none."""
    rest = values[1] - values[0] - sum(share.sum().item() for share in slots.values())
    return 0.0 if abs(rest) <= 10 * ROUNDING * max(1.0, *(abs(value) for value in values)) else rest


def _times(pair: Pair, name: str, side: int) -> Tensor:
    rows, times = pair.slots.predictions.row[side], pair.runs[side].times(name)
    ones = torch.ones_like(rows)
    return ones if times is None else torch.where(rows >= 0, _picked(times, rows), ones)


def _picked(values: Tensor, rows: Int[Tensor, "U"]) -> Tensor:
    """Values at some rows, 0 where the row is -1."""
    if not len(values):
        return torch.zeros_like(rows, dtype=values.dtype)
    return torch.where(rows >= 0, values[rows.clamp(min=0)], 0)


def _close(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs() <= ROUNDING * torch.maximum(a.abs(), b.abs())
