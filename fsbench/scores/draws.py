"""Scores of several draws of one test: their spread, and the interval for other draws (fixed-supports.md §10)."""

from collections.abc import Sequence
from math import nan, sqrt
from statistics import fmean, stdev

from fsbench.scores.distributions import t_quantile
from fsbench.scores.estimate import LEVEL, Estimate, Scope


def sd_of_draws(values: Sequence[float]) -> float:
    """Return the standard deviation of a score over draws; NaN for a single draw.

    >>> sd_of_draws([40.0, 44.0])
    2.8284271247461903
    """
    return stdev(values) if len(values) > 1 else nan


def mean_of_draws(values: Sequence[float]) -> Estimate:
    """Return the mean over draws, with its interval for other draws from the same images.

    The interval is mean ± t(0.975; R − 1) · sd / √R for R draws; a single draw has none.
    """
    mean, error = fmean(values), sd_of_draws(values) / sqrt(len(values))
    if error != error:
        return Estimate(mean, scope=Scope.NONE)
    half = t_quantile(0.5 + LEVEL / 2, len(values) - 1) * error
    return Estimate(mean, mean - half, mean + half, Scope.THESE_IMAGES, error, len(values) - 1)
