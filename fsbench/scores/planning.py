"""Sizes of tests that find a difference: its power, draws of supports, and trainings (statistics spec §8).

All follow from the error of a difference on a finished test. The difference that was found there is never put in for
the true one: from 400 episodes that gives a twentieth of what is right, or sixty times as much.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf, sqrt

import numpy as np

from fsbench.scores.decisions import Factor
from fsbench.scores.distributions import chi_squared_quantile, t_below, t_quantile
from fsbench.scores.estimate import FEW_QUERIES, LEVEL, Estimate


@dataclass(frozen=True)
class Share:
    """A share of the variance of a difference, from 0 to 1, with its 95 % interval."""

    value: float
    low: float
    high: float


def shared_part(influences: np.ndarray, group: np.ndarray, variance: float) -> Share | None:
    """Estimate how much of a variance is what the cells of a group have in common, such as their query image.

    Two cells of one group have on average the group's own variance as the product of their influences; a cell by itself
    tells nothing of it. So products of different cells are averaged, and count for all pairs of cells, a cell and
    itself included.

    Args:
        influences: (G,) of cells, each a query with its supports (statistics spec §3).
        group: (G,) number of each cell's group.
        variance: the whole, the square of the error.

    Returns:
        The share; None where fewer than ten groups have several cells.
    """
    size = np.bincount(group)
    products = np.bincount(group, influences) ** 2 - np.bincount(group, influences**2)
    several = int((size > 1).sum())
    if several < FEW_QUERIES:
        return None
    factor = float((size**2).sum() / (size * (size - 1)).sum()) / variance
    value, error = factor * float(products.sum()), factor * float(np.sqrt((products**2).sum()))
    half = t_quantile(0.5 + LEVEL / 2, several - 1) * error
    return Share(*(min(max(end, 0.0), 1.0) for end in (value, value - half, value + half)))


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
    return t_below(abs(effect) / error - t_quantile(0.5 + LEVEL / 2, found.df), found.df)


def variance_scales(df: float) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a variance, as multiples of its estimate with `df` degrees of freedom."""
    tail = 0.5 - LEVEL / 2
    return df / chi_squared_quantile(1 - tail, df), df / chi_squared_quantile(tail, df)


def more_draws(found: Estimate, queries: Share, effect: float, power: float) -> Factor:
    """Return with how many draws of supports each query must be asked, of the same query images.

    Other supports make all but the queries' own part of the variance smaller. Infinite where no number is enough.

    Args:
        found: the difference on a finished test of one draw.
        queries: the queries' part of its variance, whose interval that of the number follows from.
        effect: the true difference, in points.
        power: the chance to find it.

    Returns:
        The number with its 95 % interval, at least 1.
    """
    wanted = (abs(effect) / quantiles(found.df, power) / found.error) ** 2

    def number(share: float) -> float:
        if wanted >= 1:
            return 1.0
        return (1 - share) / (wanted - share) if wanted > share else inf

    return Factor(number(queries.value), number(queries.low), number(queries.high))


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
