"""Intervals and tests of paired differences, beside the procedure written out plainly.

The plain one leaves each query image, each support image and each pair of them out by a mask over the rows and counts
anew, pair of methods by pair; it knows one fold of one run with one support a row (statistics spec §3 to §5).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations

import numpy as np
import torch

from benchmarks.speed.harness import Case
from benchmarks.statistics.answers import draw_answers
from benchmarks.statistics.procedure import Procedure
from benchmarks.statistics.structures import Structure, official
from fsbench.scores.estimate import differences, estimates
from fsbench.scores.statistics import ScoreStatistics

Pairs = Sequence[tuple[int, int]]


def cases(device: torch.device, fold: int = 0) -> Iterator[Case]:
    """Estimate two methods and their difference, then twenty in all pairs, on the 1000 episodes of a PASCAL fold.

    The episodes are the official ones, 1-way 1-shot, of `--fold`; counts are drawn. Statistics of the runs are made
    before: time is that of mIoU with its interval, and of differences with theirs and p-values.
    """
    test = official((fold,))
    for methods in (2, 20):
        counts = draw_answers(test, np.random.default_rng(methods), methods)
        statistics = [Procedure(test).statistics(of_method, "mIoU") for of_method in counts]
        pairs = list(combinations(range(methods), 2))
        paths = {
            "plain": partial(plain_figures, test, counts, pairs),
            "suite": partial(suite_figures, statistics, pairs),
        }

        def differ(paths: Mapping[str, Callable[[], np.ndarray]] = paths) -> float:
            first, second = (call() for call in paths.values())
            return float(np.abs(first - second).max() / np.abs(first).max())

        gaps = "their difference" if len(pairs) == 1 else f"{len(pairs)} differences"
        what = f"mIoU of {methods} methods and {gaps}, {len(test.query)} episodes, intervals and tests"
        yield Case(what, paths, differ, tolerance=1e-12)


def suite_figures(statistics: Sequence[list[ScoreStatistics]], pairs: Pairs) -> np.ndarray:
    """Return value, error and degrees of freedom of each method's mIoU and of each pair's difference."""
    methods = {str(number): folds for number, folds in enumerate(statistics)}
    found = [estimates(folds)["mIoU"] for folds in statistics]
    tested = differences(methods, [(str(i), str(j)) for i, j in pairs])["mIoU"]
    return np.array([[one.value, one.error, one.df] for one in [*found, *(one.difference for one in tested)]])


def plain_figures(test: Structure, counts: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Return what `suite_figures` returns, from the counts (M, n, COLUMNS) of the methods."""
    found = [plain_estimate(test, of_method, 0 * of_method) for of_method in counts]
    return np.array([*found, *(plain_estimate(test, counts[first], counts[second]) for first, second in pairs)])


def plain_estimate(test: Structure, first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Return the mIoU of counts (n, COLUMNS) minus that of others, with its error and degrees of freedom."""
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
    own = of_queries**2 / query_freedom + min(extra, of_supports) * of_supports / support_freedom
    return value, variance**0.5, variance**2 / own


def _mean_iou(cls: np.ndarray, counts: np.ndarray) -> float:
    """Return the mIoU of rows of these classes in percent."""
    intersection, union = np.bincount(cls, counts[:, 0]), np.bincount(cls, counts[:, 1])
    return float(100 * (intersection[union > 0] / union[union > 0]).mean()) if union.any() else 0.0


def _free(cluster: np.ndarray, cls: np.ndarray) -> int:
    """Return clusters minus groups: a cluster's group is a class that has others, or else all of them."""
    groups = set()
    for number in np.unique(cluster):
        shared = [own for own in cls[cluster == number] if (cluster[cls == own] != number).any()]
        groups.add(max(shared, default=-1))
    return len(np.unique(cluster)) - len(groups)
