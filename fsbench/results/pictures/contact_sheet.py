"""Draw a contact sheet of predictions: supports, the query's truth, the prediction, its errors, and an earlier one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fsbench.base.files import replacing
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.results.pictures.captions import iou_caption, presence_caption
from fsbench.results.pictures.episodes import query_image, support_images
from fsbench.results.pictures.masks import paint_errors, paint_slots
from fsbench.results.pictures.palette import ERROR_COLORS
from fsbench.results.pictures.sheet import KeyEntry, Panel, draw_sheet, error_key
from fsbench.results.pictures.tiles import fit_image

TILE = (224, 168)
MAX_SHOTS = 2


class DrawnPrediction(NamedTuple):
    """Prediction of an episode, as it is drawn in a picture.

    Attributes:
        label_map: (h, w): 0 background, 1..N ways. It is stretched over the image if their sizes differ.
        present: For every way, whether the method calls it present.
        iou: IoU of every way, from 0 to 1; None for a way that the query does not show and that was not predicted. None
            instead of the list if it is not known.
    """

    label_map: np.ndarray
    present: Sequence[bool]
    iou: Sequence[float | None] | None = None


def choose(episodes: Sequence[Episode], count: int = 8) -> list[Episode]:
    """Choose `count` episodes, evenly spread over the list, so that all methods show the same ones."""
    if len(episodes) <= count:
        return list(episodes)
    return [episodes[round(i)] for i in np.linspace(0, len(episodes) - 1, count)]


def contact_sheet(
    path: Path,
    data: SegmentationData,
    predictions: Mapping[int, DrawnPrediction],
    episodes: Sequence[Episode],
    earlier: Mapping[int, np.ndarray] | None = None,
) -> None:
    """Write a PNG with one row per episode (supports, truth and prediction), and a color key, to `path`.

    The other arguments are those of `draw_contact_sheet`: data set, {episode number: prediction}, the episodes to draw,
    and {episode number: earlier label map}.
    """
    sheet = draw_contact_sheet(data, predictions, episodes, earlier)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG", compress_level=1)  # of photos: a quarter of the time, a seventh more bytes


def draw_contact_sheet(
    data: SegmentationData,
    predictions: Mapping[int, DrawnPrediction],
    episodes: Sequence[Episode],
    earlier: Mapping[int, np.ndarray] | None = None,
) -> Image.Image:
    """Return a picture with one row per episode (supports, truth and prediction), and a key of the colors.

    Args:
        data: Data set from which images and label maps are read.
        predictions: {episode number: prediction}.
        episodes: Rows of the sheet; those without a prediction are left out.
        earlier: {episode number: label map of an earlier prediction}, drawn beside the prediction with the pixels that
            differ.
    """
    drawn = [episode for episode in episodes if episode.number in predictions]
    rows = [
        _draw_row(data, episode, predictions[episode.number], (earlier or {}).get(episode.number)) for episode in drawn
    ]
    key: list[KeyEntry] = ["errors, over the gray image:", *error_key()]
    if any(len(episode.classes) > 1 for episode in drawn):
        key.append("an episode's ways have the colors of its supports; their IoU are in the same order")
    return draw_sheet(rows, TILE, key)


def _draw_row(
    data: SegmentationData, episode: Episode, prediction: DrawnPrediction, earlier: np.ndarray | None
) -> list[Panel]:
    panels = [(support.caption, support.paint(TILE)) for support in support_images(data, episode, MAX_SHOTS)]
    query = query_image(data, episode)
    pixels = fit_image(query.pixels, TILE)
    names = [data.class_names[class_id - 1] for class_id in episode.classes]
    panels.append((f"{episode.number}: {query.caption}", paint_slots(pixels, query.slots, query.colors)))
    panels.append(
        (presence_caption(names, prediction.present), paint_slots(pixels, prediction.label_map, query.colors))
    )
    errors = "errors" if prediction.iou is None else iou_caption(prediction.iou, query.ways)
    panels.append((errors, paint_errors(pixels, prediction.label_map, query.slots)))
    if earlier is not None:
        differs = (earlier != prediction.label_map).astype(np.uint8)
        panels.append(("before", paint_slots(pixels, earlier, query.colors)))
        panels.append((f"{int(differs.sum())} pixels differ", paint_slots(pixels, differs, ERROR_COLORS[1:2])))
    return panels
