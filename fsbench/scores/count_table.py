"""The rows of a count table that scores are made of: a run of segmentation as a whole, or some of its pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.scores.confusion import COUNTS, VOID_RULES, VoidRule, intersection_union
from fsbench.scores.metric import ByQuery, Metric, Sum
from fsbench.scores.statistics import ScoreStatistics

if TYPE_CHECKING:
    import polars as pl

    from fsbench.data.episodes.header import Header


@dataclass(frozen=True, eq=False)
class CountTable:
    """Rows of (episode, way) pairs, whose values are summed by query image.

    Shapes: `n` pairs, `E` episodes, `Q` query images, in the order of their names, `C` classes.

    Attributes:
        frame: the whole count table, with a column `query`.
        class_ids: numbers of the classes that means are taken over; at least those of the pairs.
        pairs: (rows,) bool, the rows of the pairs.
        void_rule: rule for void pixels.
        is_whole: the pairs are all there are, and sums over whole episodes exist.
        header: of the run; None where the counts are of none.
    """

    frame: "pl.DataFrame"
    class_ids: Sequence[int]
    pairs: np.ndarray
    void_rule: VoidRule = VOID_RULES["ignore"]
    is_whole: bool = False
    header: "Header | None" = None

    def column(self, name: str) -> np.ndarray:
        """Return a column of the table at the pairs, (n,)."""
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
        """Whether the presence of each way was decided rightly, (n,) bool."""
        return np.asarray(self.column("present") == self.column("decided"))

    @cached_property
    def episodes(self) -> np.ndarray:
        """The rows of slot 0, (rows,) bool, one of each of the E episodes: any foreground."""
        return np.asarray(self.frame["slot"].to_numpy() == 0)

    @cached_property
    def episode_counts(self) -> np.ndarray:
        """The columns `COUNTS` of slot 0, (E, 6)."""
        return _columns(self.frame, COUNTS)[self.episodes]

    @property
    def clusters(self) -> int:
        """Number Q of query images."""
        return self._clusters[0]

    @property
    def query(self) -> np.ndarray:
        """Number of each pair's query image, (n,)."""
        return self._clusters[1][self.pairs]

    @cached_property
    def _clusters(self) -> tuple[int, np.ndarray]:
        """The number of query images, and each row's; rows of other query images than the pairs' have none."""
        numbers = _query_numbers(self.frame)
        is_there = np.zeros(len(self.frame), dtype=bool)
        is_there[numbers[self.pairs]] = True
        return int(is_there.sum()), (is_there.cumsum() - 1)[numbers]

    @cached_property
    def _class_places(self) -> np.ndarray:
        """The place of each pair's class among `class_ids`, (n,)."""
        place = {number: i for i, number in enumerate(self.class_ids)}
        return np.array([place[number] for number in self.column("class_id").tolist()], dtype=int)

    def by_query(self, values: np.ndarray) -> np.ndarray:
        """Sum values (n, ...) of the pairs by query image: (Q, ...)."""
        return _sum_at((self.clusters, *values.shape[1:]), (self.query,), values)

    def by_class(self, values: np.ndarray) -> np.ndarray:
        """Sum values (n, ...) of the pairs by query image and class: (Q, C, ...)."""
        where = self.query, self._class_places
        return _sum_at((self.clusters, len(self.class_ids), *values.shape[1:]), where, values)

    def episodes_by_query(self, values: np.ndarray) -> np.ndarray:
        """Sum values (E, ...) of the episodes of a whole run by query image: (Q, ...)."""
        where = (self._clusters[1][self.episodes],)
        return _sum_at((self.clusters, *values.shape[1:]), where, values)

    def statistics(self, metrics: Sequence[Metric]) -> ScoreStatistics:
        """Sum what `metrics` need, each sum once."""
        counted = {one.name: self.sum(one) for metric in metrics for one in metric.sums}
        sums = {name: found for name, found in counted.items() if found is not None}
        return ScoreStatistics(self.clusters, sums, tuple(metrics), self.is_whole)

    def sum(self, one: Sum) -> Any:
        """Return a sum by query image, counted when it is first asked for; None where there is none."""
        if one.name not in self._sums:
            self._sums[one.name] = self._count(one)
        return self._sums[one.name]

    @cached_property
    def _sums(self) -> dict[str, ByQuery | None]:
        return {}

    def _count(self, one: Sum) -> ByQuery | None:
        if one.count is None:
            return None
        if any(name not in self.frame.columns or self.frame[name].has_nulls() for name in one.columns):
            return None
        return one.count(self)


def episode_scores(frame: "pl.DataFrame", void: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the IoU (E,) of a count table's episodes by ascending index, and how many decisions are wrong (E,)."""
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


def _query_numbers(frame: "pl.DataFrame") -> np.ndarray:
    """Number each row's query image in the order of names."""
    names = frame["query"].to_list()
    number_of = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([number_of[name] for name in names], dtype=int)


def _sum_at(shape: tuple[int, ...], where: tuple[np.ndarray, ...], values: np.ndarray) -> np.ndarray:
    """Sum `values` (rows, ...) at their places `where`, in order: int64, or float64 of real numbers."""
    width = prod(values.shape[1:])
    row = np.ravel_multi_index(where, shape[: len(where)])
    places = (row[:, None] * width + np.arange(width)).ravel()  # of one axis: several times as fast
    total = np.zeros(prod(shape), dtype=np.float64 if values.dtype.kind == "f" else np.int64)
    np.add.at(total, places, values.ravel())
    return total.reshape(shape)
