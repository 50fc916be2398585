"""How far a run is, and what follows from it: learning rate, averaging, mosaics, when to evaluate.

Everything is a function of the step and of the fraction of the run that is done, so that a short run gets a
whole schedule and a resumed one goes on where it was. Warm-ups and averages made for runs of 100,000 steps
would eat a small one.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

WARM_UP_STEPS = 40  # at most, and at most this fraction of the run:
WARM_UP_FRACTION = 0.05
FINAL_FACTOR = 0.02  # of the learning rate, at the very end
AVERAGE_DECAY = 0.998
AVERAGE_RAMP_STEPS = 60
MOSAIC_FRACTION = 0.75  # then the images are shown as they will be seen
EVALUATIONS = 10
LOSS_EVENTS = 200
LOSS_EVERY_IN_BUDGET = 5

CLOCKS: dict[Literal["wall", "cpu"], Callable[[], float]] = {
    "wall": time.monotonic,
    "cpu": time.process_time,
}


class Stopwatch:
    """Seconds that a run has taken so far, over all of its attempts."""

    def __init__(self, clock: Literal["wall", "cpu"], *, already_s: float = 0.0) -> None:
        self._clock = CLOCKS[clock]
        self._started = self._clock() - already_s

    @property
    def elapsed_s(self) -> float:
        """So far."""
        return self._clock() - self._started


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The plan of a run of `steps`, or where they are None, of `budget_s` seconds."""

    steps: int | None
    budget_s: float | None
    evaluate_every: int | None = None

    def fraction(self, step: int, elapsed_s: float) -> float:
        """How much of the run is done before `step` (from 0): 0..1."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        assert self.budget_s is not None, "a schedule needs steps or a budget"
        return min(elapsed_s / self.budget_s, 1.0)

    def learning_rate_factor(self, step: int, fraction: float) -> float:
        """Linear warm-up, then half a cosine down to 2 %."""
        warm_up = max((step + 1) / WARM_UP_STEPS, fraction / WARM_UP_FRACTION)
        cosine = FINAL_FACTOR + (1 - FINAL_FACTOR) * (1 + math.cos(math.pi * fraction)) / 2
        return min(warm_up, 1.0) * cosine

    def mosaics(self, fraction: float) -> bool:
        """Whether views may be made of four images."""
        return fraction < MOSAIC_FRACTION

    def evaluation(self, steps_done: int, fraction: float) -> int:
        """How many evaluations are due by now; the one at the end is not counted."""
        if self.evaluate_every is not None:
            return steps_done // self.evaluate_every
        if self.steps is not None:
            return steps_done * EVALUATIONS // self.steps
        return int(fraction * EVALUATIONS)

    @property
    def loss_every(self) -> int:
        """Steps from one loss event to the next."""
        return LOSS_EVERY_IN_BUDGET if self.steps is None else max(math.ceil(self.steps / LOSS_EVENTS), 1)


def average_decay(step: int) -> float:
    """How much of the averaged weights stays at a step: less at first, so that the average catches up."""
    return AVERAGE_DECAY * (1 - math.exp(-(step + 1) / AVERAGE_RAMP_STEPS))
