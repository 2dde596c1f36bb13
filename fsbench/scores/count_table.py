"""The rows of a count table that scores are made of: a run of segmentation as a whole, or some of its pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.scores.confusion import COUNTS, VOID_RULES, VoidRule, intersection_union
from fsbench.scores.metric import Metric, Sum
from fsbench.scores.rows import Rows, RowSum, RowValues, image_numbers, padded
from fsbench.scores.run_lengths import independent_sets, is_fitted_once, run_starts
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
    """Pixel counts and presence decisions of a run, from which sums over (episode, way) pairs and episodes are taken.

    Shapes: `n` pairs, `E` episodes, `C` classes.

    Attributes:
        frame: the whole count table, with a row for each slot of each episode, a column `query`, and a column
            `supports` where the support images are known.
        class_ids: numbers of the C classes that means are taken over; at least those of the pairs.
        pairs: (rows,) bool, the rows of `frame` that are (episode, way) pairs to score; n of them are True.
        void_rule: the rule by which void pixels enter the counts.
        is_whole: whether all pairs of the run are scored; only then there are sums over whole episodes.
        header: the header of the run's manifest; None if the counts are from no run.
    """

    frame: "pl.DataFrame"
    class_ids: Sequence[int]
    pairs: np.ndarray
    void_rule: VoidRule = VOID_RULES["ignore"]
    is_whole: bool = False
    header: "Header | None" = None

    def column(self, name: str) -> np.ndarray:
        """Return the column `name` of the count table at the n scored (episode, way) pairs, (n,)."""
        return self.frame[name].to_numpy()[self.pairs]

    @cached_property
    def counts(self) -> np.ndarray:
        """Pixel counts (n, 6) of the scored (episode, way) pairs, in the order of `COUNTS`."""
        return _columns(self.frame, COUNTS)[self.pairs]

    @cached_property
    def intersection_union(self) -> tuple[np.ndarray, np.ndarray]:
        """Intersections and unions, each (n,) pixels, of the scored (episode, way) pairs, by the test's void rule."""
        return self.void_rule.intersection_union(self.counts)

    @cached_property
    def rightly_decided(self) -> np.ndarray:
        """Whether the method decided correctly that the query shows the way or not, (n,) bool for the scored pairs."""
        return np.asarray(self.column("present") == self.column("decided"))

    @cached_property
    def episodes(self) -> np.ndarray:
        """Which rows of the table are slot 0 (any foreground), (rows,) bool: one for each episode."""
        return np.asarray(self.frame["slot"].to_numpy() == 0)

    @cached_property
    def episode_counts(self) -> np.ndarray:
        """Pixel counts (E, 6) of any foreground (slot 0) in each episode, in the order of `COUNTS`."""
        return _columns(self.frame, COUNTS)[self.episodes]

    @cached_property
    def pair_rows(self) -> Rows:
        """Images on which each scored (episode, way) pair depends: the query and the way's supports."""
        return self._rows(self.pairs, self.column("class_id"))

    @cached_property
    def episode_rows(self) -> Episodes | None:
        """Images on which whole episodes depend, with the supports of all ways; None if only a part is scored."""
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
        if self.header is not None and is_fitted_once(self.header):
            run = np.searchsorted(starts, self.frame["episode"].to_numpy()[kept], side="right") - 1
            return Rows(query, None, cls, run, fitted=True, equal=len(starts) - independent_sets(self.header))
        support = padded(self.frame[SUPPORTS].filter(kept).to_list()) if SUPPORTS in self.frame.columns else None
        return Rows(query, support if support is not None and support.shape[1] else None, cls)

    def independent_names(self, kept: np.ndarray) -> list[str]:
        """Return the name of the independent sample, a query image or a scan, of each row in `kept` (rows,) bool."""
        names = self.frame["query"].filter(kept).to_list()
        if self.header is None or not self.header.slices:
            return names
        return [self.header.independent_name(name) for name in names]

    @cached_property
    def class_places(self) -> np.ndarray:
        """Index into `class_ids` of each scored pair's class, (n,)."""
        place = {number: i for i, number in enumerate(self.class_ids)}
        return np.array([place[number] for number in self.column("class_id").tolist()], dtype=int)

    def by_pair(self, values: np.ndarray) -> RowSum:
        """Wrap values (n, ...) of the scored (episode, way) pairs, to be summed over all pairs."""
        return RowSum(values)

    def by_class(self, values: np.ndarray) -> RowSum:
        """Wrap values (n, ...) of the scored (episode, way) pairs, to be summed for each class: (C, ...)."""
        return RowSum(values, self.class_places, len(self.class_ids))

    def by_episode(self, values: np.ndarray) -> RowSum:
        """Wrap values (E, ...) of whole episodes, to be summed over all episodes."""
        return RowSum(values, of_episodes=True)

    def statistics(self, metrics: Sequence[Metric]) -> ScoreStatistics:
        """Return the sums from which the scores in `metrics` are computed; a sum that several need is computed once."""
        counted = {one.name: self.sum(one) for metric in metrics for one in metric.sums}
        sums = {name: found for name, found in counted.items() if found is not None}
        return ScoreStatistics(self.pair_rows, sums, tuple(metrics), self.is_whole, self.episode_rows)

    def sum(self, one: Sum) -> Any:
        """Return the values that a sum adds up, computed once and then cached; None if the sum does not exist here."""
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
    """Return each episode's mean IoU of its ways, 0 to 1, and its number of wrong presence decisions, each (E,).

    The IoU is NaN where no way has pixels in truth or prediction.

    Args:
        frame: the count table.
        void: name of the rule for void pixels.
    """
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
