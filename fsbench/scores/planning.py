"""Sizes of tests that find a difference: its power, draws of supports, and trainings (statistics spec §8).

All follow from the error of a difference on a finished test. The difference that was found there is never put in for
the true one: from 400 episodes that gives a twentieth of what is right, or sixty times as much.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf, sqrt

import numpy as np
from scipy.special import chdtri, stdtr

from fsbench.scores.decisions import Factor
from fsbench.scores.estimate import LEVEL, Estimate, t_quantile


@dataclass(frozen=True)
class ErrorParts:
    """Parts of the variance of a difference, in squared points, that add up to the square of its error.

    Attributes:
        queries: how the difference varies from query image to query image, whatever the supports.
        supports: from support to support, whatever the query.
        episodes: from one query with its supports to another, beyond both: how the two suit each other.
    """

    queries: float
    supports: float
    episodes: float

    @classmethod
    def from_estimate(cls, found: Estimate) -> "ErrorParts":
        """Part the variance of an estimate whose rows have one query image: V = (V_q - V_e) + φ(V_s - c V_e) + V_e.

        Queries and episodes can be told apart only where queries are asked with several sets of supports.
        """
        of_queries, _, of_cells = found.variances
        episodes = min(of_cells, of_queries)
        return cls(of_queries - episodes, max(found.error**2 - of_queries, 0.0), episodes)


def quantiles(df: float, power: float) -> float:
    """Return t(0.975) + t(power): how many of its errors a difference must be, to be found with this power.

    >>> round(quantiles(1e9, 0.80), 3)
    2.802
    """
    return t_quantile(0.5 + LEVEL / 2, df) + t_quantile(power, df)


def power_of(found: Estimate, effect: float, factor: float, scale: float = 1.0) -> float:
    """Return the power to find a true difference with `factor` times as many images.

    Args:
        found: the difference on a finished test, for its error alone.
        effect: the true difference, in points.
        factor: query and support images as a multiple of that test's.
        scale: the true variance as a multiple of the estimated one.

    Returns:
        From 0 to 1. `times_larger` is the factor at which it is the wanted power.
    """
    error = found.error * sqrt(scale / factor)
    return float(stdtr(found.df, abs(effect) / error - t_quantile(0.5 + LEVEL / 2, found.df)))


def variance_scales(df: float) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a variance, as multiples of its estimate with `df` degrees of freedom."""
    tail = 0.5 - LEVEL / 2
    return df / float(chdtri(df, tail)), df / float(chdtri(df, 1 - tail))


def more_draws(found: Estimate, effect: float, power: float) -> Factor:
    """Return how many times as many supports each query image must be asked with, of the same query images.

    Other supports make what supports and episodes contribute smaller, not what the query images do. Infinite where no
    number of supports is enough.

    Args:
        found: the difference on a finished test, whose queries are asked with several sets of supports.
        effect: the true difference, in points.
        power: the chance to find it.

    Returns:
        The factor with its 95 % interval, at least 1.
    """
    parts = ErrorParts.from_estimate(found)
    wanted = (abs(effect) / quantiles(found.df, power)) ** 2

    def factor(scale: float) -> float:
        left = wanted - scale * parts.queries
        return max(scale * (parts.supports + parts.episodes) / left, 1.0) if left > 0 else inf

    # half the degrees of freedom, as `times_larger`: the variance's own error has long tails
    low, high = variance_scales(found.df / 2)
    return Factor(factor(1.0), factor(low), factor(high))


def trainings_needed(scores: Sequence[Sequence[float]], effect: float, power: float) -> Factor | None:
    """Return how many trainings of each method find a true difference on an endless test, by Welch's t.

    Args:
        scores: of each trained method, those of its trainings on the same episodes; two or more of them.
        effect: the true difference, in points.
        power: the chance to find it.

    Returns:
        The number with its 95 % interval, at least 2; None where all scores of a method are the same.
    """
    variances = [float(np.var(of_method, ddof=1)) for of_method in scores]
    total = sum(variances)
    if total == 0:
        return None

    def freedom(trainings: Sequence[int]) -> float:
        return total**2 / sum(own**2 / (number - 1) for own, number in zip(variances, trainings, strict=True))

    def number(scale: float) -> float:
        return _least(lambda n: quantiles(freedom([n] * len(scores)), power) * sqrt(scale * total / n) <= abs(effect))

    low, high = variance_scales(freedom([len(of_method) for of_method in scores]))
    return Factor(number(1.0), number(low), number(high))


def _least(is_enough: Callable[[int], bool]) -> int:
    """Return the least number from 2 on that is enough, where all larger ones are."""
    high = 2
    while not is_enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return max(high, 2)


def whole(factor: float, here: float) -> int | None:
    """Return `factor` times a number that is there, rounded up; None of an infinite factor."""
    return None if factor == inf else ceil(factor * here - 1e-9)
