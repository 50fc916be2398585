"""How far a one-to-one matching of least cost is from another one, pair by pair.

Of a matched pair: the rise in total cost if it were forbidden. Of any other: the rise if it were forced. Both
follow from the cheapest chains of moves (a row takes another's column, which sends that row on), found for
all pairs of rows at once by the algorithm of Floyd and Warshall (Ahuja, Magnanti and Orlin, Network Flows,
1993, chapter 5). In a matching of least cost no closed chain of moves gains anything, so the cheapest are
well defined, and a chain that crosses itself is never better than its parts.
"""

import numpy as np
from jaxtyping import Bool, Float, Int


def rises(cost: Float[np.ndarray, "G n"], matched: Bool[np.ndarray, "G n"]) -> Float[np.ndarray, "G n"]:
    """By how much the least total rises if a matched pair is forbidden, or another pair is forced.

    At least 0; infinite for a pair that cannot be done without. Takes time with the cube of the number of
    matched pairs.
    """
    if cost.size == 0:
        return cost
    if cost.shape[0] > cost.shape[1]:
        return rises(cost.T, matched.T).T
    return _rises(cost, matched.argmax(1))


def _rises(cost: Float[np.ndarray, "R K"], column: Int[np.ndarray, "R"]) -> Float[np.ndarray, "R K"]:
    """The same where every row is matched, to `column`."""
    rows = np.arange(len(column))
    kept = cost[rows, column]
    moves = cost - kept[:, None]  # what it costs a row to move to a column
    step = moves[:, column]  # [R, R]: to the column of another row, which has to move on
    chain = step.copy()
    for row in rows:
        np.minimum(chain, chain[:, row, None] + chain[None, row], out=chain)
    free = np.ones(cost.shape[1], dtype=bool)
    free[column] = False
    out = moves[:, free].min(1, initial=np.inf)  # to the best column that nobody has
    leave = (chain + out).min(1, initial=np.inf)  # the same after any chain of moves
    fill = chain.min(0, initial=0.0)  # what is saved at most once a row's column is given up
    others = np.where(np.eye(len(rows), dtype=bool), np.inf, chain + step.T)
    found = moves + fill[:, None]
    found[:, column] = step + np.minimum(chain.T, leave + fill[:, None])
    found[rows, column] = np.minimum(leave + fill, others.min(1, initial=np.inf))
    rise: Float[np.ndarray, "R K"] = np.maximum(found, 0)
    return rise
