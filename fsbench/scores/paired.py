"""Differences of methods on the same episodes: intervals, swap tests, and the episodes that would settle one.

Every resample draws whole query images and is the same for all methods, so what is hard for all cancels. The test swaps
the two methods' answers, query image by query image: if it does not matter which method answered, the difference that
was found is one like any other of the swapped ones. Neither assumes a distribution, and both know that scores are
ratios of sums.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import NormalDist

import numpy as np

from fsbench.scores.bootstrap import CHUNK, LEVEL, Interval, percentile_interval, resampled_together
from fsbench.scores.metric import Totals
from fsbench.scores.scores import TRUTH
from fsbench.scores.statistics import ScoreStatistics

RESAMPLES = 10_000
POWER = 0.80

Scores = dict[str, np.ndarray]
"""Metric -> its value (R,) in each of R resamples."""


@dataclass(frozen=True)
class Difference:
    """The score of `method` minus that of `other`, in points.

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
    methods: Mapping[str, Sequence[ScoreStatistics]], pairs: Sequence[tuple[str, str]], resamples: int = RESAMPLES
) -> dict[str, list[Difference]]:
    """Compare methods in pairs by their mean over folds.

    Args:
        methods: name -> statistics of each fold; the folds of all methods, and their query images, are the same.
        pairs: (method, other) names.
        resamples: of the bootstrap and of the swap test.

    Returns:
        metric -> the difference of every pair.
    """
    values = {
        name: {metric: float(score[0]) for metric, score in _mean([fold.scores() for fold in folds]).items()}
        for name, folds in methods.items()
    }
    draws = _bootstrap_scores(methods, resamples)
    as_extreme = _count_as_extreme(methods, pairs, values, resamples)
    differences: dict[str, list[Difference]] = {}
    for (metric, method, other), count in as_extreme.items():
        first, second = values[method][metric], values[other][metric]
        moved = draws[method][metric] - draws[other][metric]
        differences.setdefault(metric, []).append(
            Difference(
                method=method,
                other=other,
                scores=(first, second),
                difference=percentile_interval(first - second, moved),
                error=float(moved.std()),
                p=(count + 1) / (resamples + 1),
            )
        )
    return differences


def _bootstrap_scores(methods: Mapping[str, Sequence[ScoreStatistics]], resamples: int) -> dict[str, Scores]:
    """Compute each method's mean over folds in every bootstrap resample; resamples are the same for all methods."""
    by_fold = [
        resampled_together(same_fold, resamples, seed)
        for seed, same_fold in enumerate(zip(*methods.values(), strict=True))
    ]
    return {name: _mean([fold[i] for fold in by_fold]) for i, name in enumerate(methods)}


def _count_as_extreme(
    methods: Mapping[str, Sequence[ScoreStatistics]],
    pairs: Sequence[tuple[str, str]],
    values: Mapping[str, Mapping[str, float]],
    resamples: int,
) -> dict[tuple[str, str, str], int]:
    """Count the swapped differences as large as the observed one, or larger: (metric, method, other) -> count."""
    counts: dict[tuple[str, str, str], int] = {}
    for (method, other), swapped in _swap_resamples(methods, pairs, resamples):
        for metric, moved in swapped.items():
            observed = abs(values[other][metric] - values[method][metric])
            key = (metric, method, other)
            counts[key] = counts.get(key, 0) + int((np.abs(moved) >= observed - 1e-9).sum())
    return counts


def _mean(folds: list[Scores]) -> Scores:
    """Average the scores that all folds have."""
    names = [name for name in folds[0] if all(name in fold for fold in folds)]
    return {name: np.mean([fold[name] for fold in folds], 0) for name in names}


def _swap_resamples(
    methods: Mapping[str, Sequence[ScoreStatistics]], pairs: Sequence[tuple[str, str]], resamples: int
) -> Iterator[tuple[tuple[str, str], Scores]]:
    """Yield each pair's differences (CHUNK,) when every query image's answers change sides with probability 1/2.

    Which images do is the same for all pairs, so that a method is summed once for all; goes on until there are all
    resamples.
    """
    clusters = [fold.clusters for fold in next(iter(methods.values()))]
    generators = [np.random.default_rng([seed, 1]) for seed in range(len(clusters))]  # not the bootstrap's numbers
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        stays = [
            rng.integers(0, 2, (size, number), dtype=np.int8).astype(float)
            for rng, number in zip(generators, clusters, strict=True)
        ]
        sides = {
            name: [_Side.from_statistics(fold, stay) for fold, stay in zip(folds, stays, strict=True)]
            for name, folds in methods.items()
        }
        for first, second in pairs:
            yield (first, second), _mean([a.swapped_with(b) for a, b in zip(sides[first], sides[second], strict=True)])


@dataclass(frozen=True)
class _Side:
    """A method's sums on one fold: over all query images, and (R, ...) over those whose answers stay with it."""

    statistics: ScoreStatistics
    whole: dict[str, np.ndarray]
    staying: dict[str, np.ndarray]

    @classmethod
    def from_statistics(cls, statistics: ScoreStatistics, stay: np.ndarray) -> "_Side":
        return cls(statistics, statistics.totals(), statistics.totals(stay))

    def swapped_with(self, other: "_Side") -> Scores:
        """Compute the differences (R,) when answers that do not stay are the other side's.

        A score that one of the two lacks is left out.
        """
        ours: dict[str, np.ndarray] = {}
        theirs: dict[str, np.ndarray] = {}
        for name in self.staying.keys() & other.staying.keys():
            moved = self.staying[name] - other.staying[name]
            ours[name], theirs[name] = other.whole[name] + moved, self.whole[name] - moved
        run = self._run_of_either(other)
        first, second = self.statistics.compute(ours, run), self.statistics.compute(theirs, run)
        return {name: second[name] - first[name] for name in first}

    def _run_of_either(self, other: "_Side") -> Totals | None:
        """Return the sums of the whole run, in which a class is shown that either side was shown."""
        run, truth = self.statistics.run, TRUTH.name
        if run is None or truth not in self.whole or truth not in other.whole:
            return run
        return {**run, truth: self.whole[truth] + other.whole[truth]}


def swapped_differences(first: ScoreStatistics, second: ScoreStatistics, stay: np.ndarray) -> Scores:
    """Compute the differences (R,) when each query image's answers stay on their side (1) or change it (0), (R, Q)."""
    return _Side.from_statistics(first, stay).swapped_with(_Side.from_statistics(second, stay))


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's method.

    Those below 0.05 are differences, with a chance of 5 % that any of them is none.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return [float(value) for value in adjusted]


def episodes_needed(difference: float, error: float, episodes: int) -> int | None:
    """Estimate the episodes that would show a true difference of this size with a power of 80 % at the level of 5 %.

    A difference d is shown where |d| is (1.960 + 0.842) standard errors or more, and the standard error s of n episodes
    becomes s · sqrt(n / m) with m of them, so m = n · (2.802 · s / |d|)², rounded up.

    Args:
        difference: in points.
        error: its standard error on `episodes` episodes; the variance on n times as many is taken as 1/n, which holds
            while new episodes bring new query images.
        episodes: number of episodes that `error` was measured on.

    Returns:
        the number of episodes, or None where there is no difference.
    """
    if abs(difference) < 1e-9:
        return None
    wanted = abs(difference) / (NormalDist().inv_cdf(0.5 + LEVEL / 2) + NormalDist().inv_cdf(POWER))
    return max(ceil(episodes * (error / wanted) ** 2), 1)


def indistinguishable(ranked: Sequence[str], different: set[frozenset[str]]) -> list[list[str]]:
    """Group methods that do not differ: the longest stretches of `ranked` without a pair of `different`.

    A method that differs from both neighbours is in no group.
    """
    stretches: list[list[str]] = []
    for start in range(len(ranked)):
        end = start + 1
        while end < len(ranked) and not any(frozenset((name, ranked[end])) in different for name in ranked[start:end]):
            end += 1
        stretch = list(ranked[start:end])
        if len(stretch) > 1 and not (stretches and set(stretch) <= set(stretches[-1])):
            stretches.append(stretch)
    return stretches


def compact_letters(ranked: Sequence[str], different: set[frozenset[str]]) -> dict[str, str]:
    """Give methods letters so that two of them share one exactly where they do not differ.

    The algorithm inserts one difference after the other: a letter that both have becomes two, one without either, and
    a letter whose methods another one has as well is dropped (Piepho, 2004, J. Comput. Graph. Stat. 13, 456).

    Args:
        ranked: names, the best first, which gets the first letter.
        different: pairs of names that differ.

    Returns:
        name -> its letters in order; one that differs from all others has a letter of its own.
    """
    rank = {name: place for place, name in enumerate(ranked)}
    groups: list[set[str]] = [set(ranked)]
    for pair in sorted(different, key=lambda pair: sorted(rank[name] for name in pair)):
        divided = [part for group in groups for part in ([group - {one} for one in pair] if pair <= group else [group])]
        distinct = [group for i, group in enumerate(divided) if group not in divided[:i]]
        groups = [group for group in distinct if not any(group < other for other in distinct)]
    groups.sort(key=lambda group: sorted(rank[name] for name in group))
    return {name: "".join(_letter(i) for i, group in enumerate(groups) if name in group) for name in ranked}


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"({number + 1})"
