"""Values of the rows of a run, and the scores that follow from their sums."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import nan
from typing import Any

import numpy as np

from fsbench.scores.metric import Metric, Totals
from fsbench.scores.rows import Groups, Rows, RowSum, RowValues, SeparableValues


@dataclass(frozen=True, eq=False)
class Episodes:
    """Images on which the whole episodes of a run depend, and the episode of each (episode, way) pair.

    Attributes:
        rows: the images on which each episode depends: its query and the supports of all ways.
        of_pair: (n,) index, into the rows of `rows`, of the episode to which each (episode, way) pair belongs.
    """

    rows: Rows
    of_pair: np.ndarray


@dataclass(frozen=True, eq=False)
class ScoreStatistics:
    """Sums over count-table rows from which all scores of a run, or of a part of it, are computed.

    Attributes:
        rows: the query and support images on which each (episode, way) pair depends.
        sums: {name of a sum: its value at each row}. A sum may be missing: a classification has no pixels, a part of a
            run no background; the scores that need it are then missing, too.
        metrics: the metrics whose scores are computed.
        is_whole: whether all rows of a run are included. Then a class that no query shows counts as 0; in a part of a
            run such a class is left out.
        episodes: the images on which whole episodes depend; None if no sum is over whole episodes.
    """

    rows: Rows
    sums: Mapping[str, RowValues]
    metrics: tuple[Metric, ...]
    is_whole: bool = True
    episodes: Episodes | None = None

    @cached_property
    def run(self) -> Totals | None:
        """{name of a sum: its total over all rows, (1, ...)}; None if this is only a part of a run."""
        return {name: one.total() for name, one in self.sums.items()} if self.is_whole else None

    def only(self, names: Collection[str]) -> "ScoreStatistics":
        """Return a copy with the scores `names` and the sums that they need."""
        wanted = tuple(metric for metric in self.metrics if metric.name in names)
        needed = {one.name for metric in wanted for one in metric.sums}
        return replace(self, sums={name: s for name, s in self.sums.items() if name in needed}, metrics=wanted)

    def with_sums(self, sums: Mapping[str, RowValues]) -> "ScoreStatistics":
        """Return a copy with further sums, {name: values}, over the same rows."""
        return replace(self, sums={**self.sums, **sums})

    def with_given_supports(self) -> "ScoreStatistics":
        """Return a copy that treats the supports as fixed: its intervals hold only for these supports."""
        whole = self.episodes
        episodes = None if whole is None else replace(whole, rows=replace(whole.rows, support=None))
        return replace(self, rows=replace(self.rows, support=None), episodes=episodes)

    @property
    def known_metrics(self) -> tuple[Metric, ...]:
        """The scores in `metrics` all of whose sums are available."""
        return tuple(metric for metric in self.metrics if all(one.name in self.sums for one in metric.sums))

    def scores(self) -> dict[str, float]:
        """Return {score: value}; NaN if there is nothing to average."""
        found = {}
        for metric in self.known_metrics:
            values = [part.value for part in self.parts(metric)]
            known = [value for value in values if np.isfinite(value)]
            found[metric.name] = float(np.mean(known)) if known else nan
        return found

    def keeping_parts(self) -> "KeptStatistics":
        """Return a copy that makes its parts once; copies of that copy make their own."""
        return KeptStatistics(self.rows, self.sums, self.metrics, self.is_whole, self.episodes)

    def parts(self, metric: Metric) -> "list[ScoredPart]":
        """Return the parts over which a score is averaged: the runs within the record, or all rows as one."""
        every = np.arange(len(self.rows))
        run = self.rows.run if metric.by_run else None
        pairs = [every] if run is None else [np.flatnonzero(run == number) for number in np.unique(run)]
        return [ScoredPart(self, metric, one) for one in pairs]


@dataclass(frozen=True, eq=False)
class KeptStatistics(ScoreStatistics):
    """Statistics of a fold whose parts are made once, for the fold's own score and for the mean over folds."""

    @cached_property
    def _made(self) -> "dict[Metric, list[ScoredPart]]":
        return {}

    def parts(self, metric: Metric) -> "list[ScoredPart]":
        if metric not in self._made:  # of other statistics, lest parts and statistics keep each other in memory
            others = ScoreStatistics(self.rows, self.sums, self.metrics, self.is_whole, self.episodes)
            self._made[metric] = others.parts(metric)
        return self._made[metric]


@dataclass(frozen=True, eq=False)
class ScoredPart:
    """Rows of a count table from which one score is computed, such as those of one run in a record.

    Attributes:
        statistics: sums over the whole run.
        metric: the metric of the score; `statistics` has the sums that it needs.
        pairs: (m,) indices, into the rows of `statistics`, of the (episode, way) pairs in this part.
    """

    statistics: ScoreStatistics
    metric: Metric
    pairs: np.ndarray

    @cached_property
    def of_episodes(self) -> bool:
        """Whether the score's rows are whole episodes; else they are (episode, way) pairs."""
        return all(self.statistics.sums[one.name].of_episodes for one in self.metric.sums)

    @cached_property
    def episodes(self) -> np.ndarray:
        """Indices of the whole episodes in this part; empty if there are no sums over whole episodes."""
        found = self.statistics.episodes
        return np.array([], dtype=int) if found is None else np.unique(found.of_pair[self.pairs])

    @cached_property
    def rows(self) -> Rows:
        """Images on which each row of the score depends: rows are whole episodes or (episode, way) pairs."""
        return self.episode_rows if self.of_episodes else self.statistics.rows.take(self.pairs)

    @cached_property
    def episode_rows(self) -> Rows:
        """Images on which whole episodes depend; those of (episode, way) pairs if there are no episodes."""
        whole = self.statistics.episodes
        return self.statistics.rows.take(self.pairs) if whole is None else whole.rows.take(self.episodes)

    @cached_property
    def sums(self) -> dict[str, RowValues]:
        """{name of a sum that the score needs: its values at the rows of this part}."""
        named = {one.name: self.statistics.sums[one.name] for one in self.metric.sums}
        return {name: one.take(self.episodes if one.of_episodes else self.pairs) for name, one in named.items()}

    def episode_groups(self, groups: Groups) -> Groups:
        """Return the groups as groups of whole episodes: those to which each group's (episode, way) pairs belong."""
        whole = self.statistics.episodes
        if whole is None:
            return groups
        place = np.searchsorted(self.episodes, whole.of_pair[self.pairs])[groups.row]
        keys = np.unique(groups.group * len(self.episodes) + place)
        return Groups(keys // len(self.episodes), keys % len(self.episodes), groups.number)

    def values_without(self, groups: Groups) -> np.ndarray:
        """Compute the score (G,), each time without the rows of one of G groups; NaN if nothing is left."""
        if self._last and self._last[0].is_alike(groups):
            return self._last[1]
        found = self._values_without(groups)
        self._last[:] = groups, found
        return found

    @cached_property
    def _last(self) -> list[Any]:
        """The groups without which the score was computed last, and the scores; empty before."""
        return []

    def _values_without(self, groups: Groups) -> np.ndarray:
        has_both = not self.of_episodes and any(one.of_episodes for one in self.sums.values())
        of_episodes = self.episode_groups(groups) if has_both else groups
        totals = {
            name: one.without(of_episodes, self.episode_rows.stratum)
            if one.of_episodes
            else one.without(groups, self.rows.stratum)
            for name, one in self.sums.items()
            if isinstance(one, RowSum | SeparableValues)  # nearly all are the first, and a protocol takes long to ask
        }
        return self.metric.compute(totals, self.statistics.run)

    @cached_property
    def value(self) -> float:
        """Score of this part; NaN if there is nothing to average."""
        return float(
            self.metric.compute({name: one.total() for name, one in self.sums.items()}, self.statistics.run)[0]
        )
