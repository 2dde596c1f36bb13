"""Scores of several draws of one support set: their spread, and the interval over supports (fixed-supports.md §10)."""

from collections.abc import Sequence
from math import nan, sqrt
from statistics import fmean, stdev

from fsbench.scores.distributions import t_quantile
from fsbench.scores.estimate import LEVEL, Estimate, Scope


def support_luck(values: Sequence[float]) -> float:
    """Return the standard deviation of a score over draws of the supports; NaN for a single draw.

    >>> support_luck([40.0, 44.0])
    2.8284271247461903
    """
    return stdev(values) if len(values) > 1 else nan


def over_supports(values: Sequence[float]) -> Estimate:
    """Return the mean over draws of the supports, with its interval for other supports and the same queries.

    The interval is mean ± t(0.975; R − 1) · sd / √R for R draws; a single draw has none.
    """
    mean, error = fmean(values), support_luck(values) / sqrt(len(values))
    if error != error:
        return Estimate(mean, scope=Scope.NONE)
    half = t_quantile(0.5 + LEVEL / 2, len(values) - 1) * error
    return Estimate(mean, mean - half, mean + half, Scope.THESE_IMAGES, error, len(values) - 1)
