"""Intervals and tests of paired differences, beside the procedure written out plainly.

The plain one leaves each query image, each support image and each pair of them out by a mask over the rows and counts
anew, pair of methods by pair; it knows one fold of one run with one support a row (statistics spec §3 to §5).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations

import numpy as np
import torch
from scipy import stats

from benchmarks.speed.harness import Case
from benchmarks.statistics.answers import draw_answers
from benchmarks.statistics.procedure import Procedure
from benchmarks.statistics.structures import Structure, official
from fsbench.scores.estimate import differences
from fsbench.scores.statistics import ScoreStatistics

Pairs = Sequence[tuple[int, int]]


def cases(device: torch.device, fold: int = 0) -> Iterator[Case]:
    """Compare two methods, then twenty in all pairs, on the 1000 official episodes of a PASCAL fold (`--fold`), 1-shot.

    Statistics of the runs are made before; time is that of the differences with their intervals and p-values.
    """
    test = official((fold,))
    for methods in (2, 20):
        counts = draw_answers(test, np.random.default_rng(methods), methods)
        statistics = [Procedure(test).statistics(of_method, "mIoU") for of_method in counts]
        pairs = list(combinations(range(methods), 2))
        plain, suite = partial(plain_tests, test, counts, pairs), partial(suite_tests, statistics, pairs)
        what = f"differences of {methods} methods, {len(pairs)} pairs, {len(test.query)} episodes"

        def differ(plain: partial[np.ndarray] = plain, suite: partial[np.ndarray] = suite) -> float:
            return float(np.abs(plain() - suite()).max())

        yield Case(what, {"plain": plain, "suite": suite}, differ, tolerance=1e-9)


def suite_tests(statistics: Sequence[list[ScoreStatistics]], pairs: Pairs) -> np.ndarray:
    """Return the difference, its error and its p of each pair (pairs, 3) as the suite computes them."""
    methods = {str(number): folds for number, folds in enumerate(statistics)}
    found = differences(methods, [(str(i), str(j)) for i, j in pairs])["mIoU"]
    return np.array([[one.difference.value, one.difference.error, one.difference.p] for one in found])


def plain_tests(test: Structure, counts: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Return the difference, its error and its p of each pair (pairs, 3), of counts (M, n, COLUMNS)."""
    return np.array([plain_test(test, counts[first], counts[second]) for first, second in pairs])


def plain_test(test: Structure, first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Return a difference of mIoU with its error and p."""
    every = np.ones(len(test.query), dtype=bool)

    def gap(keep: np.ndarray) -> float:
        return _mean_iou(test.cls[keep], first[keep]) - _mean_iou(test.cls[keep], second[keep])

    def influences(cluster: np.ndarray) -> np.ndarray:
        return np.array([value - gap(cluster != number) for number in np.unique(cluster)])

    def variance_and_freedom(cluster: np.ndarray) -> tuple[float, float]:
        own = influences(cluster)
        square = float((own**2).sum())
        return square, max(min(2 * square**2 / (own**4).sum(), _free(cluster, test.cls)), 1)

    value, support = gap(every), test.support[:, 0]
    of_queries, query_freedom = variance_and_freedom(test.query)
    of_supports, support_freedom = variance_and_freedom(support)
    of_cells = float((influences(test.query * (support.max() + 1) + support) ** 2).sum())
    extra = max(of_supports - of_cells, 0.0)
    variance = of_queries + extra
    freedom = variance**2 / (
        of_queries**2 / query_freedom + min(extra, of_supports) * of_supports / support_freedom
    )
    error = variance**0.5
    return value, error, float(2 * stats.t.sf(abs(value) / error, freedom))


def _mean_iou(cls: np.ndarray, counts: np.ndarray) -> float:
    """Return the mIoU of rows of these classes in percent."""
    intersection, union = np.bincount(cls, counts[:, 0]), np.bincount(cls, counts[:, 1])
    return float(100 * (intersection[union > 0] / union[union > 0]).mean())


def _free(cluster: np.ndarray, cls: np.ndarray) -> int:
    """Return clusters minus groups: a cluster's group is a class that has others, or else all of them."""
    groups = set()
    for number in np.unique(cluster):
        shared = [own for own in cls[cluster == number] if (cluster[cls == own] != number).any()]
        groups.add(max(shared, default=-1))
    return len(np.unique(cluster)) - len(groups)
