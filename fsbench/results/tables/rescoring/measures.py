"""Scores that counts do not hold: boundary IoU and calibration, from stored predictions and the data of a run."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fsbench.base.errors import FsbenchError, user_message
from fsbench.records.record import Record
from fsbench.results.tables.rescoring.mask_sums import BOUNDARY, PIXELS, PRESENCE, mask_sums
from fsbench.results.tables.rescoring.recount import Truth
from fsbench.scores.calibration import BINS, BinnedErrors, bin_index
from fsbench.scores.count_table import CountTable
from fsbench.scores.rows import RowValues
from fsbench.scores.scores import BOUNDARY as BOUNDARY_SUM
from fsbench.scores.scores import PIXEL_BINS, PIXEL_ERRORS, PRESENCE_BINS, PRESENCE_ERRORS
from fsbench.scores.statistics import ScoreStatistics

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Measures:
    """Sums for each of the R rows of a run's count table; None where the run has none.

    Attributes:
        boundary: (R, 2) int64, see `boundary_counts`.
        presence: (R, BINS, 3) sums of the presence score, see `bin_sums`.
        pixels: (R, BINS, 3) sums of the soft masks, see `soft_mask_sums`.
        missing: metric -> why there is none.
    """

    boundary: np.ndarray | None = None
    presence: np.ndarray | None = None
    pixels: np.ndarray | None = None
    missing: dict[str, str] = field(default_factory=dict)

    def notes(self, record: Record) -> list[str]:
        """Say of each score that was asked for and that the run does not have why, in a line."""
        return [f"{record.path.name}: no {name}: {why}" for name, why in self.missing.items()]

    def added(
        self, statistics: ScoreStatistics, frame: "pl.DataFrame", keep: np.ndarray, class_ids: Sequence[int]
    ) -> ScoreStatistics:
        """Add these sums to statistics of the rows `keep` (R,) bool of the count table, ways alone."""
        table = CountTable(frame, class_ids, keep)
        sums: dict[str, RowValues] = {}
        if self.boundary is not None:
            sums[BOUNDARY_SUM.name] = table.by_class(self.boundary[keep])
        for bins, errors, measured in (
            (PRESENCE_BINS, PRESENCE_ERRORS, self.presence),
            (PIXEL_BINS, PIXEL_ERRORS, self.pixels),
        ):
            if measured is not None:
                sums[bins.name] = table.by_pair(measured[keep])
                sums[errors.name] = BinnedErrors.from_sums(measured[keep], statistics.rows.query)
        return statistics.with_sums(sums)


def measure(record: Record, metrics: Collection[str], open_truth: Callable[[Record], Truth]) -> Measures:
    """Measure what `metrics` need beyond counts of a run of segmentation.

    Args:
        record: the finished run.
        metrics: names of scores.
        open_truth: opens the data of the run; raises FsbenchError where they are not there.
    """
    missing: dict[str, str] = {}
    boundary = presence = pixels = None
    of_presence, of_pixels, drawn = (
        [name for name in metrics if name in wanted] for wanted in (PRESENCE, PIXELS, {BOUNDARY, *PIXELS})
    )
    if of_presence:
        if record.run.presence == "predicted":
            presence = _presence_sums(record.episodes)
        else:
            missing |= dict.fromkeys(of_presence, "the method does not score presence")
    if drawn:
        try:
            boundaries, softs = mask_sums(record, open_truth)
            boundary, pixels = boundaries if BOUNDARY in drawn else None, softs if of_pixels else None
            if softs is None:
                missing |= dict.fromkeys(of_pixels, "it kept no soft masks (KEEP_PREDICTIONS=soft)")
        except FsbenchError as error:
            missing |= dict.fromkeys(drawn, user_message(error))
    return Measures(boundary, presence, pixels, missing)


def _presence_sums(frame: "pl.DataFrame") -> np.ndarray:
    score, present = frame["score"].fill_null(0.0).to_numpy().astype(float), frame["present"].to_numpy()
    sums = np.zeros((len(frame), BINS, 3))
    sums[np.arange(len(frame)), bin_index(score)] = np.stack([np.ones(len(frame)), score, present], 1)
    return sums
