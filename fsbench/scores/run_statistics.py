"""Score statistics of a count table: a run of segmentation as a whole, or some of its (episode, way) pairs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fsbench.scores.confusion import void_rule
from fsbench.scores.count_table import CountTable
from fsbench.scores.metric import Metric
from fsbench.scores.scores import COMMON
from fsbench.scores.statistics import ScoreStatistics

if TYPE_CHECKING:
    import polars as pl

    from fsbench.data.episodes.manifest import Header


def episode_statistics(
    frame: "pl.DataFrame",
    class_ids: Sequence[int],
    void: str,
    metrics: Sequence[Metric] = COMMON,
    header: "Header | None" = None,
) -> ScoreStatistics:
    """Sum a whole run's counts by query image, for all scores (fscs-protocol §7, fss-protocol §7).

    Args:
        frame: the count table, with a column `query`.
        class_ids: numbers of the classes that means are taken over.
        void: rule of `fsbench.scores.confusion.VOID_RULES`.
        metrics: the scores that there are.
        header: the header of the run, for metrics that ask it.
    """
    ways = (frame["slot"] > 0).to_numpy()
    return CountTable(frame, class_ids, ways, void_rule(void), True, header).statistics(metrics)


def pair_statistics(
    frame: "pl.DataFrame",
    keep: np.ndarray,
    class_ids: Sequence[int],
    void: str,
    metrics: Sequence[Metric] = COMMON,
    header: "Header | None" = None,
) -> ScoreStatistics:
    """Sum the (episode, way) rows `keep` by query image; accuracy is then per presence decision.

    Args:
        frame: the count table, with a column `query`.
        keep: (rows,) bool.
        class_ids: numbers of the classes of these rows at least.
        void: rule of `fsbench.scores.confusion.VOID_RULES`.
        metrics: the scores that there are.
        header: the header of the run, for metrics that ask it.
    """
    return CountTable(frame, class_ids, keep, void_rule(void), False, header).statistics(metrics)
