"""Margins of one-to-one matchings, against solving the matching anew for each pair."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from posneg.models.assigners._matching_margins import rises

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]
FAR = 1e6


@st.composite
def costs(draw: st.DrawFn) -> Matrix:
    """Up to five by five, negative ones and ties among them."""
    shape = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    return random.integers(-3, 4, shape).astype(float) if draw(st.booleans()) else random.normal(size=shape)


def least(cost: Matrix) -> float:
    """The least total."""
    return float(cost[linear_sum_assignment(cost)].sum())


@given(cost=costs())
def test_a_rise_is_what_solving_anew_costs_more(cost: Matrix) -> None:
    """Each matched pair forbidden in turn, each other pair forced."""
    matched = np.zeros(cost.shape, dtype=bool)
    matched[linear_sum_assignment(cost)] = True

    found = rises(cost, matched)

    for pair in np.ndindex(cost.shape):
        changed = cost.copy()
        changed[pair] = FAR if matched[pair] else -FAR
        other = least(changed) if matched[pair] else least(changed) + FAR + cost[pair]
        if other > FAR / 2:
            assert np.isinf(found[pair])
        else:
            np.testing.assert_allclose(found[pair], other - least(cost), atol=1e-8)


def test_nothing_to_match_has_no_rises() -> None:
    """Boxes without predictions, and predictions without boxes."""
    for shape in ((0, 3), (3, 0), (0, 0)):
        assert rises(np.zeros(shape), np.zeros(shape, dtype=bool)).shape == shape
