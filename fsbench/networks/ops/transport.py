"""Cost of the cheapest transport between uniform weights, exactly, by linear programs of few variables.

A transport of r sources and c sinks uses at most r + c - 1 of its r·c ways. SciPy's simplex (HiGHS) is given the
nearest ways of each source and sink; prices that it finds tell which of the other ways would make the transport
cheaper, and those are added until there is none.
"""

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from fsbench.base.errors import NumericsError

NEAREST = 6
"""Ways of each source and each sink that the first program has."""
ADDED = 5
"""Ways of each source and each sink that are added at a time at most."""
ROUNDING = 1e-9
"""A way must be cheaper by this to be added; costs are of the order of 1."""


def transport_cost(cost: np.ndarray) -> float:
    """Return the optimal transport cost (earth mover's distance) between uniform weights on rows and on columns.

    Args:
        cost: cost (r, c) of moving a unit of weight from a row to a column; finite.

    Raises:
        NumericsError: SciPy's solver found no solution.
    """
    cost = np.asarray(cost, np.float64)
    used = _first_ways(cost)
    while True:
        total, row_prices, column_prices = _solve(cost, *np.nonzero(used))
        savings = np.where(used, -np.inf, row_prices[:, None] + column_prices - cost)
        largest = savings.max()
        if largest <= ROUNDING:
            return total
        used |= _best(savings, ADDED) & (savings > -largest)  # also those that may save something next


def _first_ways(cost: np.ndarray) -> np.ndarray:
    """Choose the nearest ways (r, c) bool of each row and column, and a staircase of ways that a transport can take."""
    rows, columns = cost.shape
    used = _best(-cost, NEAREST)
    ends = np.unique(np.concatenate([np.arange(rows) * columns, np.arange(columns) * rows]))  # in parts of 1/(r·c)
    used[ends // columns, ends // rows] = True
    return used


def _best(values: np.ndarray, count: int) -> np.ndarray:
    """Mark the `count` largest of values (r, c) in each row and in each column."""
    rows, columns = values.shape
    of_row, of_column = min(count, columns), min(count, rows)
    best = np.zeros(values.shape, bool)
    best[np.arange(rows)[:, None], np.argpartition(-values, of_row - 1, 1)[:, :of_row]] = True
    best[np.argpartition(-values, of_column - 1, 0)[:of_column], np.arange(columns)] = True
    return best


def _solve(cost: np.ndarray, i: np.ndarray, j: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Solve the transport over the ways (i, j) alone: its cost, and the prices of rows and columns."""
    rows, columns = cost.shape
    count = len(i)
    entries = np.ones(2 * count), (np.concatenate([i, rows + j]), np.tile(np.arange(count), 2))
    sums = csr_array(entries, shape=(rows + columns, count))
    weights = np.concatenate([np.full(rows, 1 / rows), np.full(columns, 1 / columns)])
    solved = linprog(cost[i, j], A_eq=sums, b_eq=weights, method="highs-ds")
    if solved.status != 0:
        raise NumericsError(f"the transport of {rows} to {columns} cells was not solved ({solved.message})")
    prices = solved.eqlin.marginals
    return float(solved.fun), prices[:rows], prices[rows:]
