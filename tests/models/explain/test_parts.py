"""The Shapley value of any game: it closes, and is what its definition says."""

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posneg.models.explain.mixture import INGREDIENTS, Ingredient
from posneg.models.explain.parts import shapley


@given(count=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_parts_are_averages_over_all_orders(count: int, seed: int) -> None:
    """A part is what its player adds when it joins, over every order of joining; they sum to the whole."""
    players = INGREDIENTS[:count]
    worth: dict[frozenset[Ingredient], torch.Tensor] = {}
    generator = torch.Generator().manual_seed(seed)

    def value(joined: frozenset[Ingredient]) -> torch.Tensor:
        if joined not in worth:
            worth[joined] = torch.randn(3, generator=generator, dtype=torch.float64)
        return worth[joined]

    parts = shapley(players, value)

    whole = value(frozenset(players)) - value(frozenset())
    torch.testing.assert_close(sum(parts.values()), whole, atol=1e-12, rtol=0)
    orders = list(permutations(players))
    for player in players:
        added = [
            value(frozenset(order[: order.index(player) + 1]))
            - value(frozenset(order[: order.index(player)]))
            for order in orders
        ]
        torch.testing.assert_close(parts[player], torch.stack(added).mean(0), atol=1e-12, rtol=0)


def test_a_single_player_gets_it_all() -> None:
    """To the last bit."""
    before, after = torch.tensor([0.1]), torch.tensor([0.3])

    assert shapley(["formula"], lambda joined: after if joined else before)["formula"] == after - before


def test_without_players_there_are_no_parts() -> None:
    """Nothing is even evaluated."""
    assert shapley([], lambda _: pytest.fail("evaluated")) == {}
