"""Sums that counts do not hold: they are measured in a run's stored predictions and its data for the metrics asked for.

Which sums there are, metrics say (`fsbench.scores.sums.MeasuredSum`). All sums over pixels are measured in one pass.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fsbench.base.errors import FsbenchError, RecordError, SettingsError, user_message
from fsbench.protocols.reading import metric_named, segmentation_of
from fsbench.records.record import Record
from fsbench.results.measuring.recount import Truth, last_slots, own_resolution, stored_predictions
from fsbench.scores.confusion import void_rule
from fsbench.scores.count_table import CountTable
from fsbench.scores.metric import Metric
from fsbench.scores.rows import RowValues
from fsbench.scores.sums import MeasuredSum, Pixels, PixelSum, ScoreSum


@dataclass(frozen=True)
class Measures:
    """Values measured on a run's stored predictions, for scores that do not follow from its pixel counts.

    Attributes:
        rows: {name of a sum: values (R, ...)} at the R rows of the run's count table.
        missing: {metric: reason why its values could not be measured}.
    """

    rows: Mapping[str, np.ndarray] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def sums(self, metrics: Sequence[Metric], table: CountTable) -> dict[str, RowValues]:
        """Return {name: sum of measured values} that `metrics` need, for the rows of a count table."""
        measured = {one for metric in metrics for one in measured_sums(metric) if one.name in self.rows}
        found = {one.name: one.added_up(table, self.rows[one.name]) for one in measured}
        return {name: values for name, values in found.items() if values is not None}


def measured_sums(metric: Metric) -> list[MeasuredSum]:
    """Return the sums of a metric that must be measured, since they do not follow from pixel counts."""
    return [one for one in metric.sums if isinstance(one, MeasuredSum)]


def measure(record: Record, metrics: Collection[str], open_truth: Callable[[Record], Truth]) -> Measures:
    """Measure on a segmentation run's predictions what `metrics` need beyond pixel counts.

    Args:
        record: the finished run.
        metrics: names of scores.
        open_truth: takes a run and returns a function from episode number to true label map; raises FsbenchError if the
            run's data are missing.
    """
    needed = {name: measured_sums(metric_named(name)) for name in metrics}
    every = dict.fromkeys(one for sums in needed.values() for one in sums)
    of_scores = [one for one in every if isinstance(one, ScoreSum)]
    of_pixels = [one for one in every if isinstance(one, PixelSum)]
    rows: dict[str, np.ndarray] = {}
    lacking: dict[MeasuredSum, str] = {}
    if record.run.presence == "predicted":
        rows |= _score_rows(record, of_scores)
    else:
        lacking |= dict.fromkeys(of_scores, "the method does not score presence")
    if of_pixels:
        try:
            found = _pixel_rows(record, of_pixels, open_truth)
            rows |= found
            absent = [one for one in of_pixels if one.name not in found]
            lacking |= dict.fromkeys(absent, "it kept no soft masks (--keep-predictions soft)")
        except FsbenchError as error:
            lacking |= dict.fromkeys(of_pixels, user_message(error))
    missing: dict[str, str] = {}
    for one, why in lacking.items():
        for name, sums in needed.items():
            if one in sums:
                missing.setdefault(name, why)
    return Measures(rows, missing)


def _score_rows(record: Record, sums: Sequence[ScoreSum]) -> dict[str, np.ndarray]:
    """Measure sums over presence scores."""
    frame = record.episodes
    score, present = frame["score"].fill_null(0.0).to_numpy().astype(float), frame["present"].to_numpy()
    return {one.name: one.measure(score, present) for one in sums}


def _pixel_rows(
    record: Record, sums: Sequence[PixelSum], open_truth: Callable[[Record], Truth]
) -> dict[str, np.ndarray]:
    """Measure sums over the pixels of all episodes in one pass; those of soft masks where these were kept.

    Raises:
        FsbenchError: there are no sound predictions, or no data.
    """
    stored = stored_predictions(record)
    truth, side = open_truth(record), own_resolution(record)
    protocol = segmentation_of(record.header)
    rule = void_rule(protocol.counting.void)
    measured = {one.measure: one for one in sums if stored.has_soft_masks or not one.needs_soft}
    needs_soft = any(one.needs_soft for one in measured.values())
    rows: dict[Any, list[np.ndarray]] = {function: [] for function in measured}
    for episode, ways in last_slots(record.episodes) if measured else ():
        target = truth(episode)
        target = protocol.view.squashed_truth(target, side) if side else target
        predicted = stored.label_map(episode)
        if predicted.shape != target.shape:
            raise RecordError(f"episode {episode} has another size than the data at hand")
        pixels = Pixels(predicted, target, ways, rule, stored.soft_masks(episode) if needs_soft else None)
        for function, one in measured.items():
            rows[function].append(_checked(one, function(pixels), ways))
    joined = {function: np.concatenate(parts) for function, parts in rows.items()}
    return {one.name: joined[one.measure] for one in sums if one.measure in joined}


def _checked(one: PixelSum, values: Any, ways: int) -> np.ndarray:
    """Return the values of an episode's rows. Raises SettingsError unless there is one for any way and for each."""
    found = np.asarray(values)
    if found.ndim == 0 or len(found) != ways + 1:
        raise SettingsError(
            f"the sum {one.name} is an array of shape {found.shape} in an episode of {ways} ways, expected "
            f"({ways + 1}, ...): a row for any way, and one for each"
        )
    return found
