"""Statistics of a run or a part of one, with what was measured of it beyond counts."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from fsbench.protocols.reading import askable_metrics, segmentation_of
from fsbench.records.record import Record
from fsbench.scores.count_table import CountTable
from fsbench.scores.metric import Metric
from fsbench.scores.statistics import ScoreStatistics

if TYPE_CHECKING:
    import polars as pl

    from fsbench.results.measuring.measures import Measures  # with OpenCV and torch


def whole_statistics(
    record: Record, frame: "pl.DataFrame", measures: "Measures | None" = None, names: Collection[str] | None = None
) -> ScoreStatistics:
    """Return the sums over all rows of a run's count table from which its scores are computed.

    Args:
        record: the run.
        frame: the run's count table, which may have been counted anew.
        measures: values measured on the run's predictions, for scores that do not follow from counts; None if not
            needed.
        names: names of the scores; None for all that can be asked for.
    """
    metrics, counting = _metrics(record, names), record.protocol.counting
    statistics = counting.statistics(frame, record.header, metrics)
    if measures is None:
        return statistics
    classes = segmentation_of(record.header).counting.counted_classes(frame, record.header)
    table = CountTable(frame, classes, (frame["slot"] > 0).to_numpy(), is_whole=True)
    return statistics.with_sums(measures.sums(metrics, table))


def subset_statistics(
    record: Record,
    frame: "pl.DataFrame",
    keep: np.ndarray,
    measures: "Measures | None" = None,
    names: Collection[str] | None = None,
) -> ScoreStatistics:
    """Return the sums over the rows `keep` (rows,) bool of a run's count table, for scores on a part of the test.

    Args:
        record: the run.
        frame: the run's count table, which may have been counted anew.
        keep: (rows,) bool, the rows to use.
        measures: values measured on the run's predictions, for scores that do not follow from counts; None if not
            needed.
        names: names of the scores; None for all that can be asked for.
    """
    metrics, counting = _metrics(record, names), record.protocol.counting
    statistics = counting.subset_statistics(frame, keep, record.header, metrics)
    if measures is None:
        return statistics
    classes = sorted(set(frame["class_id"].to_numpy()[keep].tolist()))
    return statistics.with_sums(measures.sums(metrics, CountTable(frame, classes, keep)))


def _metrics(record: Record, names: Collection[str] | None) -> list[Metric]:
    """Return the metrics that can be asked for of a run, or those of them with `names`."""
    return [one for one in askable_metrics(record.protocol) if names is None or one.name in names]
