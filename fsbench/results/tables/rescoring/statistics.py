"""Statistics of a run or a part of one, with what was measured of it beyond counts."""

from typing import TYPE_CHECKING

import numpy as np

from fsbench.protocols.reading import segmentation_of
from fsbench.records.record import Record
from fsbench.scores.statistics import ScoreStatistics

if TYPE_CHECKING:
    import polars as pl

    from fsbench.results.tables.rescoring.measures import Measures  # with OpenCV and torch


def whole_statistics(record: Record, frame: "pl.DataFrame", measures: "Measures | None" = None) -> ScoreStatistics:
    """Sum a whole count table on the episodes of `record`, with what was measured of it beyond counts."""
    statistics = record.protocol.statistics(frame, record.header)
    if measures is None:
        return statistics
    classes = segmentation_of(record.header).counting.counted_classes(frame, record.header)
    return measures.added(statistics, frame, (frame["slot"] > 0).to_numpy(), classes)


def subset_statistics(
    record: Record, frame: "pl.DataFrame", keep: np.ndarray, measures: "Measures | None" = None
) -> ScoreStatistics:
    """Sum the (episode, way) rows `keep` (rows,) bool of a count table, as `whole_statistics` sums all."""
    statistics = record.protocol.subset_statistics(frame, keep, record.header)
    if measures is None:
        return statistics
    classes = sorted(set(frame["class_id"].to_numpy()[keep].tolist()))
    return measures.added(statistics, frame, keep, classes)
