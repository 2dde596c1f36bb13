"""Differences of methods on the same episodes: intervals, tests, and how many episodes would settle one.

Every resample draws whole query images and is the same for all methods, so what is hard for all cancels. The test swaps
the two methods' answers, query image by query image: if it does not matter which method answered, the difference that
was found is one like any other of the swapped ones. Neither assumes a distribution, and both know that scores are
ratios of sums.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from statistics import NormalDist

import numpy as np

from fsbench.scores import Sums
from fsbench.stats import AT_ONCE, LEVEL, Interval, interval, resampled_alike

RESAMPLES = 10_000
POWER = 0.80


@dataclass(frozen=True)
class Difference:
    """The score of `other` minus that of `method`, in points.

    Attributes:
        scores: of the two.
        difference: with the interval of the difference itself.
        error: its standard error, the standard deviation of its resamples.
        p: of the swap test, two-sided, for this pair alone.
    """

    method: str
    other: str
    scores: tuple[float, float]
    difference: Interval
    error: float
    p: float


def paired_differences(
    parts: Mapping[str, Sequence[Sums]], pairs: Sequence[tuple[str, str]], resamples: int = RESAMPLES
) -> dict[str, list[Difference]]:
    """Metric -> the difference of every pair of methods, for the mean over folds.

    Args:
        parts: method -> sums of each fold; the folds of all methods, and their query images, are the same.
        pairs: (method, other) names.
    """
    values = {name: _mean([sums.scores() for sums in folds]) for name, folds in parts.items()}
    by_fold = [resampled_alike(same, resamples, seed) for seed, same in enumerate(zip(*parts.values(), strict=True))]
    draws = {name: _mean([fold[i] for fold in by_fold]) for i, name in enumerate(parts)}
    extreme: dict[tuple[str, str, str], int] = {}
    for pair, swapped in _swapped(parts, pairs, resamples):
        for metric, moved in swapped.items():
            first, second = (float(values[name][metric][0]) for name in pair)
            count = int((np.abs(moved) >= abs(second - first) - 1e-9).sum())
            extreme[metric, *pair] = extreme.get((metric, *pair), 0) + count
    found: dict[str, list[Difference]] = {}
    for (metric, method, other), count in extreme.items():
        first, second = (float(values[name][metric][0]) for name in (method, other))
        moved = draws[other][metric] - draws[method][metric]
        difference, error = interval(second - first, moved), float(moved.std())
        p = (count + 1) / (resamples + 1)
        found.setdefault(metric, []).append(Difference(method, other, (first, second), difference, error, p))
    return found


def _mean(folds: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Means over folds of the scores that all have."""
    names = [name for name in folds[0] if all(name in fold for fold in folds)]
    return {name: np.mean([fold[name] for fold in folds], 0) for name in names}


def _swapped(
    parts: Mapping[str, Sequence[Sums]], pairs: Sequence[tuple[str, str]], resamples: int
) -> Iterator[tuple[tuple[str, str], dict[str, np.ndarray]]]:
    """Differences (AT_ONCE,) of each pair when each query image's answers change sides with probability 1/2, until
    there are all resamples. Which images do is the same for all pairs, so that a method is summed once for all."""
    folds = list(zip(*parts.values(), strict=True))
    generators = [np.random.default_rng([seed, 1]) for seed in range(len(folds))]  # other numbers than the bootstrap's
    for start in range(0, resamples, AT_ONCE):
        size = min(AT_ONCE, resamples - start)
        stays = [
            rng.integers(0, 2, (size, len(same[0].right)), dtype=np.int8).astype(float)
            for rng, same in zip(generators, folds, strict=True)
        ]
        sides = {name: [_Side.of(*x) for x in zip(of, stays, strict=True)] for name, of in parts.items()}
        for first, second in pairs:
            yield (first, second), _mean([a.with_other(b) for a, b in zip(sides[first], sides[second], strict=True)])


@dataclass(frozen=True)
class _Side:
    """A method's sums over all query images, and (R, ...) over those whose answers stay."""

    sums: Sums
    whole: dict[str, np.ndarray]
    staying: dict[str, np.ndarray]

    @classmethod
    def of(cls, sums: Sums, stay: np.ndarray) -> "_Side":
        return cls(sums, sums.totals(), sums.totals(stay))

    def with_other(self, other: "_Side") -> dict[str, np.ndarray]:
        """Differences (R,): answers that do not stay are the other side's. What one of them lacks is left out."""
        one: dict[str, np.ndarray] = {}
        two: dict[str, np.ndarray] = {}
        for name in self.staying.keys() & other.staying.keys():
            moved = self.staying[name] - other.staying[name]
            one[name], two[name] = other.whole[name] + moved, self.whole[name] - moved
        both = replace(self.sums, truth=self.sums.truth + other.sums.truth)  # shown to either
        ours, theirs = both.figures(one), both.figures(two)
        return {name: theirs[name] - ours[name] for name in ours}


def exchanged(first: Sums, second: Sums, stay: np.ndarray) -> dict[str, np.ndarray]:
    """Differences (R,) when each query image's answers stay on their side (1) or change it (0), (R, Q)."""
    return _Side.of(first, stay).with_other(_Side.of(second, stay))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: those below 0.05 are differences, with a chance of 5 % that any of them is none."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return [float(value) for value in adjusted]


def episodes_needed(difference: float, error: float, episodes: int) -> int | None:
    """How many episodes would show a true difference of this size with a power of 80 % at the level of 5 %.

    The variance of the difference of `episodes` episodes is `error`²; that of n times as many is taken as 1/n of it,
    which holds while new episodes bring new query images. None where there is no difference to find.
    """
    if abs(difference) < 1e-9:
        return None
    wanted = abs(difference) / (NormalDist().inv_cdf(0.5 + LEVEL / 2) + NormalDist().inv_cdf(POWER))
    return max(ceil(episodes * (error / wanted) ** 2), 1)


def alike(ranked: Sequence[str], told_apart: set[frozenset[str]]) -> list[list[str]]:
    """Longest stretches of `ranked` methods no two of which are told apart; single methods are left out."""
    stretches: list[list[str]] = []
    for start in range(len(ranked)):
        end = start + 1
        while end < len(ranked) and not any(frozenset((name, ranked[end])) in told_apart for name in ranked[start:end]):
            end += 1
        stretch = list(ranked[start:end])
        if len(stretch) > 1 and not (stretches and set(stretch) <= set(stretches[-1])):
            stretches.append(stretch)
    return stretches
