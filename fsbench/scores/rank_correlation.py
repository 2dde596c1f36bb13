"""Rank correlations within queries, and means over queries with intervals."""

from dataclasses import dataclass

import numpy as np

from fsbench.scores.estimate import Estimate, mean_of_rows
from fsbench.scores.rows import Rows


@dataclass(frozen=True)
class RankCorrelation:
    """Mean of Spearman's correlation over queries.

    Attributes:
        mean: -1 to 1. Queries share supports, whose effects are no property's: a test over query images finds a
            correlation in 11 to 60 of 100 samples without a cause, so it has none.
        queries: number of queries that have one: at least three draws, and neither side constant.
    """

    mean: float
    queries: int


def within_query_correlation(values: np.ndarray, scores: np.ndarray) -> RankCorrelation | None:
    """Correlate values with scores over the draws of each query, and average over queries.

    Args:
        values, scores: (Q, draws) float; draws with a NaN are left out.

    Returns:
        The mean correlation; None if no query has one.
    """
    rho = np.array([spearman(*pair) for pair in zip(values, scores, strict=True)])
    known = np.isfinite(rho)
    if not known.any():
        return None
    return RankCorrelation(float(rho[known].mean()), int(known.sum()))


def clustered_mean(values: np.ndarray, images: np.ndarray) -> Estimate:
    """Return the mean of one value per query, with interval and p against 0, for these supports.

    Args:
        values: (Q,) float.
        images: (Q,) query images, whose queries are not independent.
    """
    names = np.unique(images, return_inverse=True)[1]
    return mean_of_rows(values, Rows(query=names, support=None, cls=np.zeros(len(names), dtype=int)))


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's correlation of pairs, without those with NaN; ties get their mean rank.

    NaN for fewer than three pairs and for a constant side.
    """
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < 3:
        return float("nan")
    ranks = [mean_ranks(side[known]) for side in (first, second)]
    deviations = [rank - rank.mean() for rank in ranks]
    norm = np.sqrt((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum())
    return float((deviations[0] * deviations[1]).sum() / norm) if norm else float("nan")


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks (n,) of values, from 1; ties get their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = count.cumsum()
    ranks: np.ndarray = (last - (count - 1) / 2)[place]
    return ranks
