"""Sums of a run by query image, and the scores that follow from them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np

from fsbench.scores.metric import ByQuery, Metric, Totals


@dataclass(frozen=True)
class ScoreStatistics:
    """Sufficient statistics of the scores of a run, or of a part of one.

    Attributes:
        clusters: number Q of the clusters that resamples draw whole: query images, or episodes of a classification.
        sums: by the names that metrics know them by, for each cluster. One that is not there does not exist (a
            classification has no pixels, a part of a run no background), nor do the scores that need it.
        metrics: those that there are, or that are wanted.
        is_whole: it is a whole run, in which a class that is never shown counts as 0; else such classes are left out.
    """

    clusters: int
    sums: Mapping[str, ByQuery]
    metrics: tuple[Metric, ...]
    is_whole: bool = True

    @cached_property
    def run(self) -> Totals | None:
        """The plain sums of all clusters, (1, ...), of a whole run; None for a part of one."""
        if not self.is_whole:
            return None
        return {name: array.sum(0)[None] for name, array in self._arrays.items()}

    @property
    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: array for name, array in self.sums.items() if isinstance(array, np.ndarray)}

    def only(self, names: Collection[str]) -> "ScoreStatistics":
        """Keep what the scores `names` need."""
        wanted = tuple(metric for metric in self.metrics if metric.name in names)
        needed = {one.name for metric in wanted for one in metric.sums}
        return replace(self, sums={name: s for name, s in self.sums.items() if name in needed}, metrics=wanted)

    def with_sums(self, sums: Mapping[str, ByQuery]) -> "ScoreStatistics":
        """Add sums of the same clusters."""
        return replace(self, sums={**self.sums, **sums})

    def scores(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Compute the wanted scores (R,) for weights (R, Q) of the clusters; all ones when None."""
        return self.compute(self.totals(weights), self.run)

    def totals(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Sum every statistic over the clusters with weights (R, Q): name -> (R, ...)."""
        weights = np.ones((1, self.clusters)) if weights is None else weights
        totals = {name: s.totals(weights) for name, s in self.sums.items() if not isinstance(s, np.ndarray)}
        arrays = self._arrays
        if not arrays:
            return totals
        widths = [prod(array.shape[1:]) for array in arrays.values()]
        flat = [array.reshape(len(array), width) for array, width in zip(arrays.values(), widths, strict=True)]
        side_by_side = np.concatenate(flat, 1, dtype=float)
        total = (side_by_side.T @ weights.T).T  # all at once, and resamples adjacent in memory: several times as fast
        parts = np.split(total, np.cumsum(widths)[:-1], 1)
        named = zip(arrays.items(), parts, strict=True)
        return totals | {name: part.reshape(len(part), *array.shape[1:]) for (name, array), part in named}

    def compute(self, totals: Totals, run: Totals | None) -> dict[str, np.ndarray]:
        """Compute the wanted scores (R,) that `totals` give, in the order of `metrics`; see `Metric.compute`."""
        return {
            metric.name: metric.compute(totals, run)
            for metric in self.metrics
            if all(one.name in totals for one in metric.sums)
        }
