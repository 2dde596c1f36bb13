"""Explain single episodes of finished runs side by side: each method's masks and scores, and what it attended to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from fsbench.data.batch import EpisodeBatch
from fsbench.data.dataset import VoidPolicy
from fsbench.engine.restore import check_counts, reopen_at
from fsbench.episodes.protocol import load_protocol
from fsbench.errors import RecordError, SettingsError, user_message
from fsbench.explain.episode_panels import prediction_panels
from fsbench.metrics.confusion import intersection_union
from fsbench.records.grouping import variants
from fsbench.records.record import Record, read_record
from fsbench.visualization.episodes import batch_query_image, batch_support_images
from fsbench.visualization.sheet import Panel, write_sheet

TILE = 200
"""Side of a panel in pixels."""


@dataclass
class EpisodePrediction:
    """A method's prediction of an episode.

    Attributes:
        iou: By way; None where there is nothing to find and nothing was predicted.
        present: Decision on the presence of each way.
        score: Confidence of each decision.
        panels: Figures; the caption of the first is left to the caller.
    """

    iou: list[float | None]
    present: list[bool]
    score: list[float]
    panels: list[Panel]

    @property
    def numbers(self) -> dict[str, Any]:
        """The prediction without its figures, as plain values."""
        return {"iou": self.iou, "present": self.present, "score": self.score}


@dataclass
class EpisodePanels:
    """An episode with the predictions of several methods.

    Attributes:
        classes: Names by way.
        panels: Figures of the supports, the query and the truth.
        predictions: By method.
    """

    classes: list[str]
    panels: list[Panel]
    predictions: dict[str, EpisodePrediction] = field(default_factory=dict)


def compare_episodes(
    folders: Sequence[Path], chosen: Sequence[int], pixel: tuple[float, float] | None
) -> tuple[dict[int, EpisodePanels], list[str]]:
    """Predict episodes again with the methods of finished runs.

    Args:
        folders: Folders of runs on the same episodes.
        chosen: Indices of the episodes.
        pixel: Query point whose attention is drawn, as shares of height and width; None: the object's center.

    Returns:
        The episodes by index, and notes about counts that differ from the records'.

    Raises:
        RecordError: a folder has no record, or the runs are on different episodes.
        SettingsError: there is no such episode, or a run is of classification.
    """
    records = [_read_segmentation_record(folder) for folder in folders]
    _check_comparable(records, chosen)
    compared: dict[int, EpisodePanels] = {}
    notes: list[str] = []
    for record, label in zip(records, _unique_labels(records), strict=True):
        void = load_protocol(record.header["protocol"]).void
        experiment, episodes = reopen_at(record, chosen)
        with torch.inference_mode():
            for episode in episodes:
                number = int(episode.episodes[0])
                if number not in compared:
                    compared[number] = _episode_panels(episode, experiment.data.dataset.class_names)
                prediction, note = _predict(cast(Any, experiment.method), record, episode, void, pixel)
                compared[number].predictions[label] = prediction
                if note:
                    notes.append(f"{label}: {note}")
    return dict(sorted(compared.items())), notes


def write_episode_sheet(path: Path, episode: EpisodePanels) -> None:
    """Write a PNG: a row of supports and truth, then one row of each method."""
    rows = [episode.panels]
    for label, prediction in episode.predictions.items():
        (_, first), *others = prediction.panels
        rows.append([(label, first), *others])
    write_sheet(path, rows, (TILE, TILE))


def _read_segmentation_record(folder: Path) -> Record:
    record = read_record(folder)
    if record is None:
        raise RecordError(f"{folder} is no finished run; expected a folder that `make bench` wrote")
    if not record.task.has_masks:
        raise SettingsError(f"{folder} is a run of classification, which has no masks; leave --episode out")
    return record


def _check_comparable(records: Sequence[Record], chosen: Sequence[int]) -> None:
    first = records[0]
    for record in records[1:]:
        if record.manifest_sha256 != first.manifest_sha256:
            raise RecordError(f"{first.path} and {record.path} are not on the same episodes; expected runs of one task")
    count = len(first.manifest.episodes)
    for number in chosen:
        if not 0 <= number < count:
            raise SettingsError(f"--episode is {number}, expected 0 to {count - 1}")


def _unique_labels(records: Sequence[Record]) -> list[str]:
    """Label each run by its method, and by its folder where two have one label."""
    label_of = {record.path: label for label, group in variants(list(records)).items() for record in group}
    labels = [label_of[record.path] for record in records]
    return [
        f"{record.path.name}: {label}" if labels.count(label) > 1 else label
        for record, label in zip(records, labels, strict=True)
    ]


def _episode_panels(episode: EpisodeBatch, class_names: Sequence[str]) -> EpisodePanels:
    names = [class_names[class_id - 1] for class_id in episode.known_truth().classes[0].tolist()]
    panels = [(support.caption, support.painted()) for support in batch_support_images(episode, names)]
    query = batch_query_image(episode, names)
    return EpisodePanels(names, [*panels, ("query", query.pixels), (query.caption, query.painted())])


def _predict(
    method: Any, record: Record, episode: EpisodeBatch, void: VoidPolicy, pixel: tuple[float, float] | None
) -> tuple[EpisodePrediction, str]:
    """Predict an episode again; the note says where its counts are not the record's."""
    result = method.evaluate(episode)
    note = ""
    try:
        check_counts(record, [result])
    except RecordError as error:
        note = user_message(error)
    intersections, unions = intersection_union(result.counts[1:].numpy(), void)
    ious = [float(i) / float(u) if u else None for i, u in zip(intersections, unions, strict=True)]
    panels = prediction_panels(method, episode, result.label_map.numpy(), ious, pixel)
    return EpisodePrediction(ious, result.decided.tolist(), result.score.tolist(), panels), note
