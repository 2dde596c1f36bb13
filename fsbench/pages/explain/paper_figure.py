"""A figure for a paper from predictions that runs kept: episodes side by side, a row for each method.

Nothing is predicted again, so that neither a network nor a GPU is needed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fsbench.base.errors import RecordError, SettingsError
from fsbench.data.dataset import VOID, SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.label_maps import resize_labels
from fsbench.pages.explain.comparable_records import read_comparable_records
from fsbench.protocols.reading import segmentation_of
from fsbench.records.predictions import StoredPredictions, read_predictions
from fsbench.records.record import Record
from fsbench.results.pictures.captions import iou_caption
from fsbench.results.pictures.crops import Crop, crop_around
from fsbench.results.pictures.episodes import LabeledImage, query_image, support_images
from fsbench.results.pictures.figure import PROPORTION, FigureRow, check_suffix, tile_size, write_figure
from fsbench.results.pictures.masks import paint_errors, paint_slots
from fsbench.results.pictures.palette import Color
from fsbench.results.pictures.sheet import error_colors, way_key
from fsbench.results.pictures.tiles import fit_image
from fsbench.runner.engine.stored_data import open_dataset
from fsbench.scores.confusion import COUNTS, way_ious

EPISODES = 8
"""Episodes of a figure that names none."""
MOST_EPISODES = 16
ERRORS_OF = 3
"""Largest number of methods whose errors have rows of their own."""


class PaperFigure(NamedTuple):
    """The episodes, IoUs and size of a figure that was drawn for a paper.

    Attributes:
        episodes: Indices of the episodes, in the order of the columns.
        ious: {method: {episode index: IoU of every way}}.
        size: Width and height in inches.
    """

    episodes: list[int]
    ious: dict[str, dict[int, list[float | None]]]
    size: tuple[float, float]


class _Run(NamedTuple):
    """A method's stored predictions, and the IoU of every way of every episode."""

    predictions: StoredPredictions
    ious: dict[int, list[float | None]]


def draw_paper_figure(folders: Sequence[Path], path: Path, chosen: Sequence[int], count: int = EPISODES) -> PaperFigure:
    """Draw episodes of one or more runs as a figure: supports, truth, and each method's prediction and errors.

    Errors are left out if there are more than `ERRORS_OF` methods. All tiles of one query show the same part of the
    image.

    Args:
        folders: Finished runs on the same episodes, which kept predictions.
        path: File to write, .pdf, .svg or .png.
        chosen: Indices of the episodes to draw. If empty, `count` episodes are chosen, spread evenly from the first
            run's lowest IoU to its highest, among those that are scored and whose query shows a class.
        count: Number of episodes to draw if `chosen` is empty.

    Raises:
        RecordError: a run kept no predictions, or the data are not those of the runs.
        SettingsError: an episode does not exist or only calibrates, there are too many, or the ending of `path` is that
            of no figure format.
    """
    check_suffix(path)
    if max(len(chosen), count if not chosen else 0) > MOST_EPISODES:
        raise SettingsError(f"{len(chosen) or count} episodes were asked for, expected at most {MOST_EPISODES}")
    records = read_comparable_records(folders, chosen)
    first = next(iter(records.values()))
    tested = {episode.number for episode in first.manifest.tested_episodes}
    for number in chosen:
        if number not in tested:
            raise SettingsError(
                f"episode {number} only calibrates and is no part of the test; expected another, or look at it with "
                f"fsbench explain RUN --episode {number}"
            )
    runs = {label: _Run(_read_predictions(record), _ious(record)) for label, record in records.items()}
    numbers = list(chosen) or spread_episodes(next(iter(runs.values())).ious, _presence(first), count)
    data = open_dataset(first)
    episodes = {episode.number: episode for episode in first.manifest.episodes}
    columns = [_column(data, episodes[number], runs, len(numbers)) for number in numbers]
    rows = [
        FigureRow(label, [column[at].tile for column in columns], [column[at].note for column in columns])
        for at, label in enumerate(cell.label for cell in columns[0])
    ]
    names = [[data.class_names[class_id - 1] for class_id in episodes[number].classes] for number in numbers]
    headings = [f"{number}: {', '.join(of_episode)}" for of_episode, number in zip(names, numbers, strict=True)]
    size = write_figure(path, headings, rows, _key(len(names[0]), with_errors=len(runs) <= ERRORS_OF))
    return PaperFigure(numbers, {label: {n: run.ious[n] for n in numbers} for label, run in runs.items()}, size)


def spread_episodes(
    ious: Mapping[int, Sequence[float | None]], present: Mapping[int, Sequence[bool]], count: int
) -> list[int]:
    """Choose episodes at evenly spread quantiles of their mean IoU, among those whose query shows a class.

    Args:
        ious: {episode index: IoU of each way, None if undefined}.
        present: {episode index: for each way, whether the query shows it}.
        count: Largest number of episodes to choose.

    Returns:
        Indices of the episodes, from the lowest to the highest mean IoU of the classes that the query shows; episodes
        of equal IoU in the order of the test.

    Raises:
        SettingsError: no query shows a class.
    """
    means = {}
    for episode, shown in present.items():
        values = [iou or 0.0 for iou, is_shown in zip(ious[episode], shown, strict=True) if is_shown]
        if values:
            means[episode] = sum(values) / len(values)
    if not means:
        raise SettingsError("no query of the test shows its class; name episodes with --episodes 3,17")
    ranked = sorted(means, key=lambda episode: (means[episode], episode))
    if len(ranked) <= count:
        return ranked
    return [ranked[int((at + 0.5) * len(ranked) / count)] for at in range(count)]


def _read_predictions(record: Record) -> StoredPredictions:
    stored = read_predictions(record)
    if stored is None:
        raise RecordError(
            f"{record.path} kept no predictions, of which a figure is made; run it again with "
            "--run.keep_predictions=masks, or look at it with --episode N"
        )
    return stored


def _ious(record: Record) -> dict[int, list[float | None]]:
    """Return the IoU of every way by episode."""
    void = segmentation_of(record.header).counting.void
    frame = record.every_episode.filter(record.every_episode["slot"] > 0).sort("episode", "slot")
    values = way_ious(frame.select(COUNTS).to_numpy(), void)
    ious: dict[int, list[float | None]] = {}
    for episode, value in zip(frame["episode"].to_list(), values, strict=True):
        ious.setdefault(episode, []).append(value)
    return ious


def _presence(record: Record) -> dict[int, list[bool]]:
    """Return whether the query shows each way, by episode, of those that scores count."""
    frame = record.episodes.filter(record.episodes["slot"] > 0).sort("episode", "slot")
    present: dict[int, list[bool]] = {}
    for episode, value in frame.select("episode", "present").iter_rows():
        present.setdefault(episode, []).append(value)
    return present


class _Cell(NamedTuple):
    label: str
    tile: np.ndarray
    note: str = ""


def _column(data: SegmentationData, episode: Episode, runs: Mapping[str, _Run], columns: int) -> list[_Cell]:
    """Draw the tiles of an episode from top to bottom; runs and number of ways are the same for all."""
    size = tile_size(columns)
    names = [data.class_names[class_id - 1] for class_id in episode.classes]
    cells = []
    for way, support in enumerate(support_images(data, episode, 1), 1):
        cells.append(_Cell(f"support {way}" if len(names) > 1 else "support", _paint_support(support, size)))
    query = query_image(data, episode)
    truth = resize_labels(query.slots, *query.pixels.shape[:2])
    crop = _crop(truth)
    pixels = fit_image(crop.cut(query.pixels), size)
    absent = f"no {', no '.join(names)}"
    cells.append(_Cell("truth", paint_slots(pixels, crop.cut(truth), query.colors), "" if query.ways else absent))
    for label, run in runs.items():
        view = segmentation_of(run.predictions.record.header).view
        stored = view.over_image(run.predictions.label_map(episode.number))
        predicted = crop.cut(resize_labels(stored, *truth.shape))
        note = iou_caption(run.ious[episode.number], query.ways) if query.ways else ""
        if not query.ways:
            note = "false alarm" if predicted.any() else "rightly nothing"
        cells.append(_Cell(label, paint_slots(pixels, predicted, query.colors), note))
        if len(runs) <= ERRORS_OF:
            cells.append(_Cell("errors", paint_errors(pixels, predicted, crop.cut(truth))))
    return cells


def _paint_support(support: LabeledImage, size: tuple[int, int]) -> np.ndarray:
    slots = resize_labels(support.slots, *support.pixels.shape[:2])
    crop = _crop(slots)
    return paint_slots(fit_image(crop.cut(support.pixels), size), crop.cut(slots), support.colors)


def _crop(slots: np.ndarray) -> Crop:
    return crop_around((slots > 0) & (slots != VOID), PROPORTION)


def _key(ways: int, *, with_errors: bool) -> list[tuple[Color, str]]:
    key = way_key([f"way {way}" for way in range(1, ways + 1)]) if ways > 1 else []
    errors = error_colors() if ways > 1 else error_colors()[:-1]
    return [*key, *(errors if with_errors else [])]
