"""The result of a test: a finished run, with its scores, breakdowns and pictures at hand."""

from collections.abc import Sequence
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsbench.base.errors import RecordError, SettingsError, missing_package
from fsbench.protocols.reading import metric_named, metric_names
from fsbench.protocols.test import Test
from fsbench.records.predictions import read_predictions
from fsbench.records.record import Record
from fsbench.results.measuring.recount import Truth
from fsbench.results.rows.row import ALL, ResultRow, scores_of
from fsbench.results.rows.scoring import Measure
from fsbench.results.rows.wide import WIDE_KINDS, wide_frame
from fsbench.results.sheets.html import table_html
from fsbench.results.table import Cell, Column, Form, Line, Table, score_cell
from fsbench.results.tables.table import build_blocks
from fsbench.scores.count_table import QUERIES, SUPPORTS
from fsbench.scores.estimate import Estimate

if TYPE_CHECKING:
    import polars as pl
    from PIL import Image

    from fsbench.data.dataset import SegmentationData


class Result:
    """The result of a model on a test: its record, scores, intervals and pictures.

    Args:
        record: the finished run.
        test: the test, from which `show` reads the images; None if only the record is available.

    Attributes:
        record: the finished run.
        test: what was tested, or None.
    """

    def __init__(self, record: Record, test: Test | None = None):
        self.record, self.test = record, test

    @property
    def name(self) -> str:
        """Name of the method or function that made the predictions."""
        return self.record.run.identity.method.name

    @property
    def path(self) -> Path:
        """Folder of the run."""
        return self.record.path

    @cached_property
    def scores(self) -> dict[str, float]:
        """{name of a score: value}, computed from the run's counts. Raises RecordError if the counts are damaged."""
        statistics = self.record.protocol.statistics(self.record.episodes, self.record.header)
        return statistics.scores()

    @property
    def frame(self) -> "pl.DataFrame":
        """Count table from which scores are computed: a row for each (episode, slot), where slot 0 is any foreground.

        Raises RecordError if the stored counts are damaged.
        """
        return self.record.episodes.drop(SUPPORTS, QUERIES, strict=False)  # lists, which CSV has no place for

    def interval(self, metric: str) -> Estimate:
        """Return a score with its 95 % interval (`low`, `high`), as in tables; the ends are NaN with too few images.

        Args:
            metric: name of the score (see `fsbench list`), or FILE.py:Class of a score of your own.

        Raises:
            SettingsError: the run has no such score.
        """
        names = metric_names(metric)
        scores = scores_of(self._rows(metrics=names))
        if len(names) > 1 or names[0] not in scores:
            raise SettingsError(f"{self.path.name} has no score '{metric}'; there are: {', '.join(self.scores)}")
        return scores[names[0]]

    def by(self, part: str) -> "pl.DataFrame":
        """Return the scores of a breakdown, such as by size or class.

        Args:
            part: "class", or "size" of the objects (share of the query's pixels in percent).

        Returns:
            A row for each part: its name, the numbers of its episodes and (episode, way) pairs, and for each score the
            value and the ends of its 95 % interval, as mIoU, mIoU low and mIoU high.

        Raises:
            SettingsError: the test has no such breakdown.
        """
        if part not in WIDE_KINDS:
            raise SettingsError(f"by() was given '{part}', expected {' or '.join(WIDE_KINDS)}")
        self.record.protocol.check_breakdowns([part])
        return wide_frame(self._rows(part), part).drop("test", "method", "fold", "run")

    def show(self, worst: int = 5, test: Test | None = None) -> "Image.Image":
        """Draw the episodes with the lowest IoU: supports, truth, prediction and errors.

        Args:
            worst: number of episodes to draw, those with the lowest IoU.
            test: the test from which images are read; None for `self.test`.

        Returns:
            The picture, which a notebook displays; save it with `.save("worst.png")`.

        Raises:
            SettingsError: the test has no masks, `worst` is below 1, or a Python package is missing.
            RecordError: the run kept no predictions, or its data are missing or have changed.
        """
        if worst < 1:
            raise SettingsError(f"worst is {worst}, expected 1 or more")
        if not self.record.protocol.has_masks:
            raise SettingsError(f"{self.path.name} is a run of classification, which has no masks to show")
        try:
            return self._draw(worst, self.test if test is None else test)
        except ModuleNotFoundError as error:
            raise SettingsError(missing_package(error) or str(error)) from error

    def _draw(self, worst: int, test: Test | None) -> "Image.Image":
        # with OpenCV, which numbers spare
        from fsbench.protocols.reading import segmentation_of
        from fsbench.results.pictures.contact_sheet import DrawnPrediction, draw_contact_sheet
        from fsbench.scores.confusion import COUNTS, way_ious
        from fsbench.scores.count_table import episode_scores

        data = self._data(test)
        stored = read_predictions(self.record)
        if stored is None:
            raise RecordError(
                f"{self.path} has no stored predictions; run it again with --force --keep-predictions masks"
            )
        protocol, frame = segmentation_of(self.record.header), self.frame
        iou, _ = episode_scores(frame, protocol.counting.void)
        episodes = sorted(self.record.manifest.official_episodes, key=lambda episode: episode.number)
        chosen = [episodes[place] for place in np.argsort(iou, kind="stable")[:worst]]  # those without an IoU are last
        predictions = {}
        for episode in chosen:
            ways = frame.filter((frame["episode"] == episode.number) & (frame["slot"] > 0)).sort("slot")
            predictions[episode.number] = DrawnPrediction(
                protocol.view.over_image(stored.label_map(episode.number)),
                stored.decided(episode.number),
                way_ious(ways.select(COUNTS).to_numpy(), protocol.counting.void),
            )
        return draw_contact_sheet(data, predictions, chosen)

    def _data(self, test: Test | None) -> "SegmentationData":
        """Return the data of the run, from `test`, or as the run's own configuration names them."""
        if test is None:
            if not (self.path / "config.yaml").is_file():
                raise RecordError(
                    f"the data of {self.path.name} are not at hand; expected its test: .show(test=fsbench.load_test(…))"
                )
            from fsbench.runner.engine.stored_data import (
                open_dataset,
            )  # with the parts of data sets, which pages without images spare

            return open_dataset(self.record)
        if test.manifest.sha256 != self.record.manifest_sha256:
            raise RecordError(f"{self.path.name} is a run of other episodes than the test's; expected its own test")
        data: SegmentationData = test.data
        return data

    def _rows(self, part: str = ALL, metrics: Sequence[str] | None = None) -> list[ResultRow]:
        """Return the scores of this run, or of its parts, without the answers that a protocol derives from it."""
        measure = measure_for(metrics or ())
        (block,) = build_blocks(
            [self.record], by=[part] if part in WIDE_KINDS else [], metrics=metrics, measure=measure
        )
        return [row for row in block.rows if row.run and row.part_kind == part]

    @cached_property
    def _intervals(self) -> dict[str, Estimate]:
        """The scores that tables show unless they are asked for others."""
        return scores_of(self._rows())

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {one.value:.2f}" for name, one in self._intervals.items())
        return f"{self.name}: {shown}\n{self.path}"

    def _repr_html_(self) -> str:
        """Return the scores with their intervals as a table, for notebooks."""
        columns = [Column(""), *(Column(name, Form.FIGURE, metric=name) for name in self._intervals)]
        line = Line([Cell(self.name), *map(score_cell, self._intervals.values())])
        return f"{table_html(Table(columns, [line]))}<div>{escape(str(self.path))}</div>"


def measure_for(metrics: Sequence[str]) -> Measure | None:
    """Return a function that measures on a run's predictions the scores that do not follow from pixel counts.

    The scores are those of `metrics`; None if pixel counts give all of them. The function can be sent to another
    process.
    """
    if not any(metric_named(name).is_measured for name in metrics):
        return None
    from fsbench.results.measuring.measures import measure  # with OpenCV and torch, which other scores spare

    return partial(measure, metrics=metrics, open_truth=_open_truth)


def _open_truth(record: Record) -> Truth:
    # torch and Lightning: only who asks for scores beyond the counts waits for them
    from fsbench.runner.engine.stored_data import open_truth

    return open_truth(record)
