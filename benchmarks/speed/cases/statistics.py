"""Intervals and tests of paired differences, beside the procedure written out plainly.

The plain one leaves each query image, each support image and each pair of them out by a mask over the rows and counts
anew, pair of methods by pair; it knows one fold of one run with one support a row (statistics spec §3 to §5).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

    def influences(cluster: np.ndarray) -> dict[int, float]:
        return {number: value - gap(cluster != number) for number in np.unique(cluster).tolist()}

    def variance_and_freedom(own: dict[int, float], cluster: np.ndarray) -> tuple[float, float]:
        square, fourth = (sum(one**power for one in own.values()) for power in (2, 4))
        return square, max(min(2 * square**2 / fourth - 1, _free(cluster, test.cls)), 1.5)

    value, support = gap(every), test.support[:, 0]
    by_query, by_support = influences(test.query), influences(support)
    of_queries, query_freedom = variance_and_freedom(by_query, test.query)
    of_supports, support_freedom = variance_and_freedom(by_support, support)
    of_cells = sum(own**2 for own in influences(test.query * (support.max() + 1) + support).values())
    extra = max(of_supports - of_cells, 0.0)
    both = by_query.keys() & by_support.keys()
    product = sum(by_query[image] * by_support[image] for image in both)
    roles = 2 * max(product + _own_share(test, support, both) * of_cells, 0.0)
    variance = of_queries + extra + roles
    own = of_queries**2 / query_freedom + min(extra, of_supports) * of_supports / support_freedom
    own += roles**2 / min(query_freedom, support_freedom)
    return value, variance**0.5, variance**2 / own


def _own_share(test: Structure, support: np.ndarray, both: Iterable[int]) -> float:
    """Return a of §4.2: the part of an image's queries in the mean that its supports' rows are compared with."""
    shares = 0.0
    classes = np.unique(test.cls)
    for image in both:
        for number in classes:
            rows = test.cls == number
            supported = np.count_nonzero(support[rows] == image)
            if 0 < supported < np.count_nonzero(rows):
                asked = np.count_nonzero(test.query[rows] == image)
                size = np.count_nonzero(rows)
                shares += asked / size * supported / (size - supported)
    return shares / len(classes)


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
