"""95 % intervals of scores: bootstrap over query images.

Episodes that share a query image are not independent (a PASCAL fold has 1000 episodes on 326 to 587 query images), so
whole query images are drawn. All scores are ratios of sums; a resample is a weight per query image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fsbench.scores.statistics import ScoreStatistics

RESAMPLES = 2000
LEVEL = 0.95
FEW_EPISODES = 50
"""Number of episodes below which 95 % intervals, of the bootstrap and of standard errors, are clearly too narrow."""
CHUNK = 1000
"""Resamples in memory at a time: 4000 query images make 32 MB of weights."""
CACHED_DRAWS = 1 << 21
"""Draws of all resamples up to which they are kept for runs with as many query images; 64 of these are 128 MB."""


@dataclass(frozen=True)
class Interval:
    """A score and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def resampled_scores(statistics: ScoreStatistics, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, np.ndarray]:
    """Compute the scores (R,) of bootstrap resamples of the query images; a seed always gives the same resamples."""
    return resampled_together([statistics], resamples, seed)[0]


def resampled_together(runs: Sequence[ScoreStatistics], resamples: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Compute the scores (R,) of each of `runs`, which have the same query images, on the same resamples."""
    clusters = runs[0].clusters
    draw = _cached_weights if clusters * resamples <= CACHED_DRAWS else cluster_weights
    chunks: list[list[dict[str, np.ndarray]]] = [[] for _ in runs]
    for drawn in draw(clusters, resamples, seed):
        weights = drawn.astype(float, copy=False)
        for scores, statistics in zip(chunks, runs, strict=True):
            scores.append(statistics.scores(weights))
    return [{name: np.concatenate([chunk[name] for chunk in scores]) for name in scores[0]} for scores in chunks]


def cluster_weights(clusters: int, resamples: int, seed: int, rows: int = CHUNK) -> Iterator[np.ndarray]:
    """Yield how often each cluster is drawn, (rows, clusters) uint8, until there are all resamples.

    A cluster is never drawn 256 times: the chance of that is 1 in 10^500.
    """
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        yield rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=size).astype(np.uint8)


@lru_cache(maxsize=64)
def _cached_weights(clusters: int, resamples: int, seed: int) -> list[np.ndarray]:
    """Return the weights of `cluster_weights` in one piece, kept for other runs: drawing takes longer than the rest."""
    weights = np.concatenate(list(cluster_weights(clusters, resamples, seed)))
    return [weights.astype(float) if 8 * weights.size <= CACHED_DRAWS else weights]


def intervals(folds: Sequence[ScoreStatistics], resamples: int = RESAMPLES) -> dict[str, Interval]:
    """Compute percentile intervals of the mean over `folds`, each resampled by itself, of the scores that all have."""
    values, draws = _mean_scores(folds, resamples)
    ends = _percentile_ends(np.stack(list(draws.values()))) if draws else ()
    return {name: Interval(value, low, high) for (name, value), (low, high) in zip(values.items(), ends, strict=True)}


def differences(
    folds: Sequence[ScoreStatistics], others: Sequence[ScoreStatistics], resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Compute intervals of the mean score of `others` minus that of `folds`.

    They are two ways to score the same query images; both are resampled alike.
    """
    values, draws = _mean_scores(folds, resamples)
    other_values, other_draws = _mean_scores(others, resamples)
    return {
        name: percentile_interval(other_values[name] - values[name], other_draws[name] - draws[name])
        for name in values
        if name in other_values
    }


def _mean_scores(folds: Sequence[ScoreStatistics], resamples: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Average over `folds`: their scores, and their resampled scores (R,)."""
    values = [fold.scores() for fold in folds]
    draws = [resampled_scores(fold, resamples, seed) for seed, fold in enumerate(folds)]
    names = [name for name in values[0] if all(name in value for value in values)]
    means = {name: float(np.mean([value[name][0] for value in values])) for name in names}
    return means, {name: np.mean([draw[name] for draw in draws], 0) for name in names}


def percentile_interval(value: float, draws: np.ndarray) -> Interval:
    """Return `value` with the percentile interval of the draws (R,)."""
    ((low, high),) = _percentile_ends(draws[None])
    return Interval(value, low, high)


def _percentile_ends(draws: np.ndarray) -> list[tuple[float, float]]:
    """Return the ends of the percentile intervals of several scores' draws (scores, R)."""
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(draws, [tail, 100 - tail], -1)
    return list(zip(low.tolist(), high.tolist(), strict=True))
