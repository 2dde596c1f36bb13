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
    """Return the sums over a whole run's count table from which its scores and their intervals are computed.

    Args:
        frame: the count table, with a column `query`.
        class_ids: numbers of the classes that means are taken over.
        void: name of the rule for void pixels, of `fsbench.scores.confusion.VOID_RULES`.
        metrics: the scores to compute.
        header: the header of the run's manifest, which some metrics need.
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
    """Return the sums over some (episode, way) rows from which their scores and intervals are computed.

    Accuracy is then the share of right presence decisions, not of episodes.

    Args:
        frame: the count table, with a column `query`.
        keep: (rows,) bool, which rows of `frame` to use.
        class_ids: numbers of the classes that means are taken over, at least those of the kept rows.
        void: name of the rule for void pixels, of `fsbench.scores.confusion.VOID_RULES`.
        metrics: the scores to compute.
        header: the header of the run's manifest, which some metrics need.
    """
    return CountTable(frame, class_ids, keep, void_rule(void), False, header).statistics(metrics)
