"""How far a run is and what follows: short runs get a whole schedule, whatever their length is counted in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posneg.models.training.schedule import (
    AVERAGE_DECAY,
    EVALUATIONS,
    FINAL_FACTOR,
    LOSS_EVENTS,
    WARM_UP_STEPS,
    Schedule,
    Stopwatch,
    average_decay,
)

lengths = st.integers(1, 5000)


def by_steps(steps: int, evaluate_every: int | None = None) -> Schedule:
    return Schedule(steps=steps, budget_s=None, evaluate_every=evaluate_every)


@given(steps=lengths)
def test_the_learning_rate_warms_up_briefly_and_ends_low(steps: int) -> None:
    """It rises for at most 40 steps or 5 %, whichever is less, and then only falls."""
    schedule = by_steps(steps)
    factors = [schedule.learning_rate_factor(step, schedule.fraction(step, 0.0)) for step in range(steps)]
    top = factors.index(max(factors))

    assert all(0 < factor <= 1 for factor in factors)
    assert top <= min(WARM_UP_STEPS, steps * 0.05 + 1)
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert schedule.learning_rate_factor(steps, 1.0) == pytest.approx(FINAL_FACTOR)


@given(steps=lengths)
def test_a_run_is_evaluated_ten_times_at_most(steps: int) -> None:
    """The number due never falls, and all are due at the end."""
    due = [by_steps(steps).evaluation(step, step / steps) for step in range(steps + 1)]

    assert due == sorted(due)
    assert due[0] == 0
    assert due[-1] == EVALUATIONS
    assert by_steps(steps, evaluate_every=7).evaluation(20, 0.0) == 2


@given(steps=lengths)
def test_the_loss_is_told_about_200_times(steps: int) -> None:
    """A long run does not drown its listeners, a short one tells every step."""
    events = steps // by_steps(steps).loss_every

    assert events <= LOSS_EVENTS
    assert steps > LOSS_EVENTS or events == steps


def test_a_budget_counts_time() -> None:
    """The fraction is that of the time, and time from before an interruption counts."""
    schedule = Schedule(steps=None, budget_s=10.0)

    assert schedule.fraction(10_000, 2.5) == 0.25
    assert schedule.fraction(1, 11.0) == 1.0
    assert schedule.evaluation(5, 0.39) == 3
    assert schedule.mosaics(0.5)
    assert not schedule.mosaics(0.8)
    assert Stopwatch("cpu", already_s=100.0).elapsed_s >= 100.0
    assert Stopwatch("wall").elapsed_s < 100.0


def test_the_average_catches_up() -> None:
    """Little of the random first weights is left after some hundred steps."""
    left = 1.0
    for step in range(300):
        assert 0 < average_decay(step) < AVERAGE_DECAY
        left *= average_decay(step)

    assert average_decay(10_000) == pytest.approx(AVERAGE_DECAY)
    assert left < 1e-10
