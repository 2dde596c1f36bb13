"""Rank correlations within queries, and means over queries with intervals."""

from dataclasses import dataclass

import numpy as np

from fsbench.scores.estimate import Estimate, mean_of_rows
from fsbench.scores.rows import Rows


@dataclass(frozen=True)
class RankCorrelation:
    """Mean over queries of Spearman's correlation between a property of the drawn supports and the score.

    Attributes:
        mean: mean of the queries' correlations, from -1 to 1. It has no p-value: queries share supports, so that a test
            over query images would find a correlation in 11 to 60 of 100 samples that have none.
        queries: number of queries with a correlation: they have at least three draws, and neither property nor score is
            constant.
    """

    mean: float
    queries: int


def within_query_correlation(values: np.ndarray, scores: np.ndarray) -> RankCorrelation | None:
    """Correlate a property of the supports with the score over each query's draws of supports; average over queries.

    Args:
        values, scores: (Q, draws) float, the property and the score of each of Q queries and draw; draws with a NaN are
            left out.

    Returns:
        The mean of Spearman's correlations; None if no query has a defined correlation.
    """
    rho = np.array([spearman(*pair) for pair in zip(values, scores, strict=True)])
    known = np.isfinite(rho)
    if not known.any():
        return None
    return RankCorrelation(float(rho[known].mean()), int(known.sum()))


def clustered_mean(values: np.ndarray, images: np.ndarray) -> Estimate:
    """Return the mean of one value per query, with an interval and the p-value of a test against 0.

    Interval and p-value hold for the given supports only.

    Args:
        values: (Q,) float.
        images: (Q,) number of each query's image; queries of one image are not independent.
    """
    names = np.unique(images, return_inverse=True)[1]
    return mean_of_rows(values, Rows(query=names, support=None, cls=np.zeros(len(names), dtype=int)))


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation of two arrays (n,), without pairs that hold a NaN; ties get their mean rank.

    NaN for fewer than three pairs, or if one array is constant.
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
