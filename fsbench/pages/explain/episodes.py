"""Explain single episodes of finished runs side by side: each method's masks and scores, and what it attended to."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import torch

from fsbench.base.errors import RecordError, user_message
from fsbench.base.files import make_folder, write_text
from fsbench.data.batch import EpisodeBatch
from fsbench.datamodules.datamodule import DataModule
from fsbench.pages.explain.comparable_records import read_comparable_records, standing
from fsbench.pages.explain.episode_panels import (
    method_panels,
    panel_key,
    predicted_foreground,
    prediction_panels,
)
from fsbench.protocols.reading import segmentation_of
from fsbench.records.class_files import ClassNotNamed
from fsbench.records.predictions import StoredPredictions, read_predictions
from fsbench.records.record import Record
from fsbench.results.pictures.contact_sheet import choose
from fsbench.results.pictures.episodes import batch_query_image, batch_support_images
from fsbench.results.pictures.sheet import Panel, write_sheet
from fsbench.runner.engine.answering import evaluate_batch
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.restore import check_counts, reopen_at, reopen_data_at
from fsbench.scores.confusion import COUNTS, way_ious

TILE = 200
"""Side of a panel in pixels."""


@dataclass
class EpisodePrediction:
    """A method's prediction of one episode, as numbers and as captioned images.

    Attributes:
        iou: IoU of each way, from 0 to 1; None if the query does not show it and nothing was predicted.
        present: For each way, whether the method calls it present.
        score: Presence score of each way, from 0 to 1.
        panels: (caption, image) pairs of the prediction; the caller replaces the caption of the first by the method's
            name.
    """

    iou: list[float | None]
    present: list[bool]
    score: list[float]
    panels: list[Panel]

    @property
    def numbers(self) -> dict[str, Any]:
        """{"iou", "present" and "score": values of each way}, the prediction as plain values without images."""
        return {"iou": self.iou, "present": self.present, "score": self.score}


@dataclass
class EpisodePanels:
    """An episode, drawn with the predictions of several methods.

    Attributes:
        classes: Class name of each way.
        standing: Why the episode is not part of the runs' scores, in words; "" if it is.
        panels: Captioned images of the supports, the query and the truth.
        predictions: {label of a method: its prediction}.
    """

    classes: list[str]
    panels: list[Panel]
    standing: str = ""
    predictions: dict[str, EpisodePrediction] = field(default_factory=dict)


def compare_episodes(
    folders: Sequence[Path], chosen: Sequence[int], pixel: tuple[float, float] | None
) -> tuple[dict[int, EpisodePanels], list[str]]:
    """Predict episodes again with the methods of finished runs; without a method's class, draw what is stored.

    Args:
        folders: Folders of runs on the same episodes.
        chosen: Indices of the episodes.
        pixel: Query point whose attention is drawn, as shares of height and width; None: the object's center.

    Returns:
        ({episode number: episode with predictions}, notes): sentences on counts that differ from those of the records,
        and on method classes that are missing.

    Raises:
        RecordError: a folder has no record, or the runs are on different episodes.
        SettingsError: a chosen episode does not exist, or a run is a classification run; or a run kept no predictions,
            and the command does not name the file of its method's class.
    """
    records = read_comparable_records(folders, chosen)
    compared: dict[int, EpisodePanels] = {}
    notes: list[str] = []
    for label, record in records.items():
        data, predicted = _predictions(record, chosen, pixel, notes, label)
        with torch.inference_mode():
            for episode, prediction in predicted:
                number = int(episode.episodes[0])
                if number not in compared:
                    names = data.dataset.class_names
                    compared[number] = _episode_panels(episode, names, standing(record, number))
                compared[number].predictions[label] = prediction
    return dict(sorted(compared.items())), notes


def write_episode_sheet(path: Path, episode: EpisodePanels) -> None:
    """Write a PNG of an episode: a row with supports and truth, a row for each method's prediction, and a color key."""
    rows = _rows(episode)
    write_sheet(path, rows, (TILE, TILE), panel_key(panel for row in rows for panel in row))


def _rows(episode: EpisodePanels) -> list[list[Panel]]:
    rows = [episode.panels]
    for label, prediction in episode.predictions.items():
        (_, first), *others = prediction.panels
        rows.append([(label, first), *others])
    return rows


def explain_episodes(
    folder: Path, out: Path, count: int, pixel: tuple[float, float] | None
) -> tuple[dict[int, EpisodePanels], list[str]]:
    """Write `episodes.png` and `explain.json` about `count` episodes of a run, spread evenly over its test.

    Args:
        folder: The finished run.
        out: Folder to write to.
        count: Number of episodes.
        pixel: Query point whose attention is drawn, as shares of height and width; None: the object's center.

    Returns:
        {episode number: episode with predictions}; and notes about counts that differ from those of the record.
    """
    (record,) = read_comparable_records([folder], []).values()
    chosen = [episode.number for episode in choose(record.manifest.official_episodes, count)]
    episodes, notes = compare_episodes([folder], chosen, pixel)
    for number, episode in episodes.items():
        episode.panels = [(f"episode {number}" if caption == "query" else caption, p) for caption, p in episode.panels]
    rows = [row for episode in episodes.values() for row in _rows(episode)]
    make_folder(out)
    write_sheet(out / "episodes.png", rows, (TILE, TILE), panel_key(panel for row in rows for panel in row))
    numbers = [
        {"episode": number, "classes": episode.classes, **prediction.numbers}
        for number, episode in episodes.items()
        for prediction in episode.predictions.values()
    ]
    write_text(out / "explain.json", json.dumps({"drawn": numbers}, indent=2) + "\n")
    return episodes, notes


def _episode_panels(episode: EpisodeBatch, class_names: Sequence[str], why: str) -> EpisodePanels:
    names = [class_names[class_id - 1] for class_id in episode.known_truth().classes[0].tolist()]
    panels = [(support.caption, support.paint()) for support in batch_support_images(episode, names)]
    query = batch_query_image(episode, names)
    caption = f"query, {why}" if why else "query"
    return EpisodePanels(names, [*panels, (caption, query.pixels), (query.caption, query.paint())], why)


def _predictions(
    record: Record, chosen: Sequence[int], pixel: tuple[float, float] | None, notes: list[str], label: str
) -> tuple[DataModule, Iterator[tuple[EpisodeBatch, EpisodePrediction]]]:
    """Return a run's data, and the chosen episodes with what its method answers now, or else with what the run kept.

    Args:
        record, chosen, pixel: as of `compare_episodes`.
        notes: gets remarks on the run.
        label: the run's, in notes.
    """
    void = segmentation_of(record.header).counting.void
    try:
        experiment, episodes = reopen_at(record, chosen)
    except ClassNotNamed as error:
        stored = read_predictions(record)
        if stored is None:
            raise
        notes.append(f"{label}: these are the masks that the run kept; steps and attention need {error.option}")
        data, episodes = reopen_data_at(record, chosen)
        return data, ((episode, _stored(stored, episode, void)) for episode in episodes)
    return experiment.data, (
        (episode, _predict(experiment, record, episode, void, pixel, notes, label)) for episode in episodes
    )


def _stored(stored: StoredPredictions, episode: EpisodeBatch, void: str) -> EpisodePrediction:
    """Show the prediction of an episode that a run kept."""
    number = int(episode.episodes[0])
    counts = stored.record.every_episode.filter(pl.col("episode") == number, pl.col("slot") > 0).sort("slot")
    ious = way_ious(counts.select(COUNTS).to_numpy(), void)
    soft = stored.soft_masks(number)
    panels = prediction_panels(episode, stored.label_map(number), ious, None if soft is None else soft / 255)
    present, scores = stored.presence(number)
    return EpisodePrediction(ious, present.tolist(), scores.tolist(), panels)


def _predict(
    experiment: Experiment,
    record: Record,
    episode: EpisodeBatch,
    void: str,
    pixel: tuple[float, float] | None,
    notes: list[str],
    label: str,
) -> EpisodePrediction:
    """Predict an episode again; a note says where its counts are not the record's."""
    method: Any = experiment.method
    (result,) = evaluate_batch(method, experiment.data.protocol, episode)
    try:
        check_counts(record, [result])
    except RecordError as error:
        notes.append(f"{label}: {user_message(error)}")
    ious = way_ious(result.counts[1:], void)
    panels = prediction_panels(episode, result.label_map, ious, predicted_foreground(method, episode))
    panels += method_panels(method, episode, len(ious), pixel)
    return EpisodePrediction(ious, result.decided.tolist(), result.score.tolist(), panels)
