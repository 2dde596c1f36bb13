"""The rows of a count table that scores are made of: a run of segmentation as a whole, or some of its pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.scores.confusion import COUNTS, VOID_RULES, VoidRule, intersection_union
from fsbench.scores.metric import Metric, Sum
from fsbench.scores.rows import Rows, RowSum, RowValues, image_numbers, padded
from fsbench.scores.run_lengths import is_fitted_once, run_starts
from fsbench.scores.statistics import Episodes, ScoreStatistics

if TYPE_CHECKING:
    import polars as pl

    from fsbench.data.episodes.manifest import Header


SUPPORTS = "supports"
"""Column with the numbers of the images (`fsbench.scores.rows`) that a row's answer follows from besides its query."""

QUERIES = "queries"
"""Column with the numbers of the query images of a row, of tests whose episodes have several."""


@dataclass(frozen=True, eq=False)
class CountTable:
    """Table of counts for (episode, way) pairs and whole episodes, whose values are summed.

    Shapes: `n` pairs, `E` episodes, `C` classes.

    Attributes:
        frame: the whole count table, with a column `query`, and a column `supports` where these are known.
        class_ids: numbers of the classes that means are taken over; at least those of the pairs.
        pairs: (rows,) bool, the rows of the pairs.
        void_rule: rule for void pixels.
        is_whole: the pairs are all there are, and sums over whole episodes exist.
        header: the header of the run; None if the counts are of none.
    """

    frame: "pl.DataFrame"
    class_ids: Sequence[int]
    pairs: np.ndarray
    void_rule: VoidRule = VOID_RULES["ignore"]
    is_whole: bool = False
    header: "Header | None" = None

    def column(self, name: str) -> np.ndarray:
        """Return a column of the table for the pairs, (n,)."""
        return self.frame[name].to_numpy()[self.pairs]

    @cached_property
    def counts(self) -> np.ndarray:
        """The columns `COUNTS` of the pairs, (n, 6)."""
        return _columns(self.frame, COUNTS)[self.pairs]

    @cached_property
    def intersection_union(self) -> tuple[np.ndarray, np.ndarray]:
        """Intersections and unions (n,) of the pairs by the rule for void pixels."""
        return self.void_rule.intersection_union(self.counts)

    @cached_property
    def rightly_decided(self) -> np.ndarray:
        """Whether each way's presence was decided correctly, (n,) bool."""
        return np.asarray(self.column("present") == self.column("decided"))

    @cached_property
    def episodes(self) -> np.ndarray:
        """Rows of slot 0 (any foreground), (rows,) bool: one for each episode."""
        return np.asarray(self.frame["slot"].to_numpy() == 0)

    @cached_property
    def episode_counts(self) -> np.ndarray:
        """The columns `COUNTS` of slot 0, (E, 6)."""
        return _columns(self.frame, COUNTS)[self.episodes]

    @cached_property
    def pair_rows(self) -> Rows:
        """Images on which each pair depends: the query and its way's supports."""
        return self._rows(self.pairs, self.column("class_id"))

    @cached_property
    def episode_rows(self) -> Episodes | None:
        """Images on which whole episodes depend, with all ways' supports; None for a part."""
        if not self.is_whole:
            return None
        number = self.frame["episode"].to_numpy()
        episode, of_pair = number[self.episodes], number[self.pairs]
        order = np.argsort(episode, kind="stable")
        place = order[np.searchsorted(episode[order], of_pair)]
        is_alone = len(of_pair) == len(episode)
        cls = self.column("class_id")[np.argsort(place)] if is_alone else np.zeros(len(episode), dtype=int)
        return Episodes(self._rows(self.episodes, cls), place)

    def _rows(self, kept: np.ndarray, cls: np.ndarray) -> Rows:
        """Return the images of the rows `kept` (rows,) bool of the frame, whose classes are `cls`."""
        query = image_numbers(self.independent_names(kept))
        starts = run_starts(self.header)
        if is_fitted_once(self.header):
            run = np.searchsorted(starts, self.frame["episode"].to_numpy()[kept], side="right") - 1
            return Rows(query, None, cls, run, fitted=True)
        support = padded(self.frame[SUPPORTS].filter(kept).to_list()) if SUPPORTS in self.frame.columns else None
        return Rows(query, support if support is not None and support.shape[1] else None, cls)

    def independent_names(self, kept: np.ndarray) -> list[str]:
        """Return the independent samples of the rows `kept` (rows,) bool: query images, or scans."""
        names = self.frame["query"].filter(kept).to_list()
        return names if self.header is None else [self.header.independent_name(name) for name in names]

    @cached_property
    def class_places(self) -> np.ndarray:
        """Position of each pair's class in `class_ids`, (n,)."""
        place = {number: i for i, number in enumerate(self.class_ids)}
        return np.array([place[number] for number in self.column("class_id").tolist()], dtype=int)

    def by_pair(self, values: np.ndarray) -> RowSum:
        """Make a sum of values (n, ...) over pairs."""
        return RowSum(values)

    def by_class(self, values: np.ndarray) -> RowSum:
        """Make a sum of values (n, ...) over pairs, by class (C, ...)."""
        return RowSum(values, self.class_places, len(self.class_ids))

    def by_episode(self, values: np.ndarray) -> RowSum:
        """Make a sum of values (E, ...) over whole episodes."""
        return RowSum(values, of_episodes=True)

    def statistics(self, metrics: Sequence[Metric]) -> ScoreStatistics:
        """Compute the sums that `metrics` need, each once."""
        counted = {one.name: self.sum(one) for metric in metrics for one in metric.sums}
        sums = {name: found for name, found in counted.items() if found is not None}
        return ScoreStatistics(self.pair_rows, sums, tuple(metrics), self.is_whole, self.episode_rows)

    def sum(self, one: Sum) -> Any:
        """Return the values of a sum, computed once; None if it does not exist."""
        if one.name not in self._sums:
            self._sums[one.name] = self._count(one)
        return self._sums[one.name]

    @cached_property
    def _sums(self) -> dict[str, RowValues | None]:
        return {}

    def _count(self, one: Sum) -> RowValues | None:
        if one.count is None:
            return None
        if any(name not in self.frame.columns or self.frame[name].has_nulls() for name in one.columns):
            return None
        return one.count(self)


def episode_scores(frame: "pl.DataFrame", void: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the IoU (E,) of each episode, and its number of wrong presence decisions (E,)."""
    _, episode = np.unique(frame["episode"].to_numpy(), return_inverse=True)
    ways = (frame["slot"] > 0).to_numpy()
    counts = np.column_stack([frame[name].to_numpy() for name in COUNTS])
    intersection, union = intersection_union(counts, void)
    counted = ways & (union > 0)
    number = int(episode.max()) + 1
    ratio = np.bincount(episode[counted], intersection[counted] / union[counted], number)
    parts = np.bincount(episode[counted], minlength=number)
    iou = np.where(parts > 0, ratio / np.maximum(parts, 1), np.nan)
    wrong = ways & (frame["present"] != frame["decided"]).to_numpy()
    return iou, np.bincount(episode[wrong], minlength=number)


def _columns(frame: "pl.DataFrame", names: Sequence[str]) -> np.ndarray:
    """Stack columns side by side (rows, names); a query of polars would take longer than all that follows."""
    return np.column_stack([frame[name].to_numpy() for name in names])
