"""Values of the rows of a run, and the scores that follow from their sums."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import nan

import numpy as np

from fsbench.scores.metric import Metric, Totals
from fsbench.scores.rows import Groups, Rows, RowValues, SeparableValues


@dataclass(frozen=True, eq=False)
class Episodes:
    """Whole episodes of a run, beside its (episode, way) pairs.

    Attributes:
        rows: the rows of the episodes, with the supports of all ways.
        of_pair: (n,) place of each pair's episode among them.
    """

    rows: Rows
    of_pair: np.ndarray


@dataclass(frozen=True, eq=False)
class ScoreStatistics:
    """Sums from which all scores of a run, or of a part of it, can be computed.

    Attributes:
        rows: the (episode, way) pairs, or the ways of a classification's episodes.
        sums: by the names that metrics know them by, values of each row. One that is not there does not exist (a
            classification has no pixels, a part of a run no background), nor do the scores that need it.
        metrics: those that there are, or that are wanted.
        is_whole: it is a whole run, in which a class that is never shown counts as 0; else such classes are left out.
        episodes: the whole episodes, where sums of them exist.
    """

    rows: Rows
    sums: Mapping[str, RowValues]
    metrics: tuple[Metric, ...]
    is_whole: bool = True
    episodes: Episodes | None = None

    @cached_property
    def run(self) -> Totals | None:
        """Sums over all rows of a whole run, (1, ...); None for a part."""
        return {name: one.total() for name, one in self.sums.items()} if self.is_whole else None

    def only(self, names: Collection[str]) -> "ScoreStatistics":
        """Keep only what the scores `names` need."""
        wanted = tuple(metric for metric in self.metrics if metric.name in names)
        needed = {one.name for metric in wanted for one in metric.sums}
        return replace(self, sums={name: s for name, s in self.sums.items() if name in needed}, metrics=wanted)

    def with_sums(self, sums: Mapping[str, RowValues]) -> "ScoreStatistics":
        """Add sums over the same rows."""
        return replace(self, sums={**self.sums, **sums})

    def with_given_supports(self) -> "ScoreStatistics":
        """Treat the supports as fixed: intervals then hold only for these supports."""
        whole = self.episodes
        episodes = None if whole is None else replace(whole, rows=replace(whole.rows, support=None))
        return replace(self, rows=replace(self.rows, support=None), episodes=episodes)

    @property
    def known_metrics(self) -> tuple[Metric, ...]:
        """Metrics whose sums are available."""
        return tuple(metric for metric in self.metrics if all(one.name in self.sums for one in metric.sums))

    def scores(self) -> dict[str, float]:
        """Compute the requested scores; NaN if there is nothing to average."""
        found = {}
        for metric in self.known_metrics:
            values = [part.value() for part in self.parts(metric)]
            known = [value for value in values if np.isfinite(value)]
            found[metric.name] = float(np.mean(known)) if known else nan
        return found

    def parts(self, metric: Metric) -> Iterator["ScoredPart"]:
        """Yield the parts over which a score is averaged: runs within the record, or all rows at once."""
        every = np.arange(len(self.rows))
        run = self.rows.run if metric.by_run else None
        for number in [None] if run is None else np.unique(run):
            pairs = every if run is None else np.flatnonzero(run == number)
            yield ScoredPart(self, metric, pairs)


@dataclass(frozen=True, eq=False)
class ScoredPart:
    """Rows from which one score is computed.

    Attributes:
        statistics: the statistics of the whole run.
        metric: the score, whose sums are there.
        pairs: (m,) places of the rows.
    """

    statistics: ScoreStatistics
    metric: Metric
    pairs: np.ndarray

    @cached_property
    def of_episodes(self) -> bool:
        """Whether the score is about whole episodes, not (episode, way) pairs."""
        return all(self.statistics.sums[one.name].of_episodes for one in self.metric.sums)

    @cached_property
    def episodes(self) -> np.ndarray:
        """Positions of whole episodes."""
        found = self.statistics.episodes
        return np.array([], dtype=int) if found is None else np.unique(found.of_pair[self.pairs])

    @cached_property
    def rows(self) -> Rows:
        """Images on which the score's rows depend."""
        return self.episode_rows if self.of_episodes else self.statistics.rows.take(self.pairs)

    @cached_property
    def episode_rows(self) -> Rows:
        """Images on which whole episodes depend; without sums of episodes, those of pairs."""
        whole = self.statistics.episodes
        return self.statistics.rows.take(self.pairs) if whole is None else whole.rows.take(self.episodes)

    @cached_property
    def sums(self) -> dict[str, RowValues]:
        """Values of the rows that the score needs."""
        named = {one.name: self.statistics.sums[one.name] for one in self.metric.sums}
        return {name: one.take(self.episodes if one.of_episodes else self.pairs) for name, one in named.items()}

    def episode_groups(self, groups: Groups) -> Groups:
        """Return the whole episodes to which each group's pairs belong."""
        whole = self.statistics.episodes
        if whole is None:
            return groups
        place = np.searchsorted(self.episodes, whole.of_pair[self.pairs])[groups.row]
        keys = np.unique(groups.group * len(self.episodes) + place)
        return Groups(keys // len(self.episodes), keys % len(self.episodes), groups.number)

    def values_without(self, groups: Groups) -> np.ndarray:
        """Compute the score (G,) without each group's rows; NaN if nothing is left."""
        has_both = not self.of_episodes and any(one.of_episodes for one in self.sums.values())
        of_episodes = self.episode_groups(groups) if has_both else groups
        totals = {
            name: one.without(of_episodes, self.episode_rows.stratum)
            if one.of_episodes
            else one.without(groups, self.rows.stratum)
            for name, one in self.sums.items()
            if isinstance(one, SeparableValues)
        }
        return self.metric.compute(totals, self.statistics.run)

    def value(self) -> float:
        """Compute the score; NaN if there is nothing to average."""
        return float(
            self.metric.compute({name: one.total() for name, one in self.sums.items()}, self.statistics.run)[0]
        )
