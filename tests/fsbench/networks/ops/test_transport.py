"""The cheapest transport between uniform weights, against one linear program of all ways and against assignments."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, linprog

from fsbench.networks.ops.transport import transport_cost


def costs(rows: int, columns: int, seed: int) -> np.ndarray:
    """Costs as Matcher's: half of one minus cosines of directions that lie around two others."""
    rng = np.random.default_rng(seed)
    x, y = (rng.normal(size=(count, 8)) + rng.normal(size=8) for count in (rows, columns))
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    return ((1 - x @ y.T) / 2).astype(np.float32)


def one_program(cost: np.ndarray) -> float:
    """Return the transport cost, computed by one linear program of all ways."""
    rows, columns = cost.shape
    of_row = np.repeat(np.eye(rows), columns, axis=1)
    of_column = np.tile(np.eye(columns), rows)
    moved = np.concatenate([np.full(rows, 1 / rows), np.full(columns, 1 / columns)])
    found = linprog(cost.astype(np.float64).ravel(), A_eq=np.concatenate([of_row, of_column]), b_eq=moved)
    return float(found.fun)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 9), (9, 1), (7, 12), (40, 33), (60, 60), (25, 100)])
def test_it_is_that_of_one_program_of_all_ways(rows, columns):
    given = costs(rows, columns, rows)
    assert transport_cost(given) == pytest.approx(one_program(given), abs=1e-9)
    assert transport_cost(given) == pytest.approx(transport_cost(given.T), abs=1e-9)


def test_of_equally_many_it_is_the_best_assignment():
    given = costs(80, 80, 1)
    rows, columns = linear_sum_assignment(given)
    assert transport_cost(given) == pytest.approx(float(given[rows, columns].astype(np.float64).mean()), abs=1e-8)


def test_far_ways_are_taken_where_near_ones_are_full():
    """Every source is nearest to the same sinks, so that most must go elsewhere, to ways that come in later."""
    given = np.ones((60, 60))
    given[:, :12] = 0
    given += 1e-3 * np.random.default_rng(0).random((60, 60))
    assert transport_cost(given) == pytest.approx(one_program(given), abs=1e-9)
    assert transport_cost(given) == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_equal_costs_have_no_cheaper_way(value):
    assert transport_cost(np.full((13, 30), value)) == pytest.approx(value, abs=1e-12)
