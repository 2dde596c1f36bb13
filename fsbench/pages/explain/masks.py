"""Explain a run by its coarse masks, a pixel's attention and t-SNE of its features, over its test episodes."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from fsbench.base.errors import SettingsError, known_names
from fsbench.base.files import write_text
from fsbench.pages.explain.coarse_masks import EpisodeMasks, MaskScores, episode_masks
from fsbench.pages.explain.pixel_features import PixelSample, write_tsne
from fsbench.results.pictures.contrast import way_colors
from fsbench.results.pictures.episodes import draw_cross, image_array, object_center
from fsbench.results.pictures.masks import SCALE, heat_map, paint_slots
from fsbench.results.pictures.sheet import Panel, write_sheet
from fsbench.runner.engine.experiment import Experiment

TILE = 160
PIXELS_PER_EPISODE = 50

MASK_KEY = (
    f"1/8 sum, 1/16 sum, ...: coarse masks at that part of the image's size, summed, {SCALE}",
    "1/8 Otsu, ...: the same, split in two at Otsu's threshold",
    "final: the method's prediction",
)
"""Key of `masks.png`."""
ATTENTION_KEY = (
    "query: the cross is the pixel whose attention follows",
    f"attention: of that pixel to each support, {SCALE}; and its share inside the support's mask",
)
"""Key of `attention.png`."""


@dataclass(frozen=True)
class MaskOptions:
    """The episodes, figures and features to look at.

    Attributes:
        episodes: Number of test episodes; None: all.
        figures: Number of episodes to draw.
        pixel: Query point whose attention is drawn, as shares of height and width; None: the object's center.
        points: Number of pixels in the t-SNE; 0: none.
        class_name: Class of the t-SNE; None: that of the first query that shows one.
    """

    episodes: int | None
    figures: int
    pixel: tuple[float, float] | None
    points: int
    class_name: str | None


@dataclass
class PixelAttention:
    """The attention of one query pixel.

    Attributes:
        pixel: Row and column.
        shares: Share of the attention in each support's mask.
        panels: The query with the pixel; each support with its mask and with the attention.
    """

    pixel: tuple[int, int]
    shares: list[float] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)


def explain_masks(experiment: Experiment, out: Path, options: MaskOptions) -> dict[str, Any]:
    """Write `masks.png`, `attention.png`, `tsne.png`, `tsne.csv` and `explain.json`.

    Args:
        experiment: Its method has `HasCoarseMasks`.
        out: Folder to write to.
        options: The episodes, figures and features to look at.

    Returns:
        The content of `explain.json`.

    Raises:
        SettingsError: the run has no class of that name.
    """
    class_id = _class_id(experiment, options.class_name)
    scores, sample = MaskScores(experiment.data.manifest), PixelSample(PIXELS_PER_EPISODE)
    mask_rows: list[list[Panel]] = []
    attention_rows: list[list[Panel]] = []
    numbers: dict[str, Any] = {"episodes": 0, "masks": {}, "drawn": []}
    for masks in episode_masks(experiment, options.episodes):
        scores.add(masks)
        numbers["episodes"] += 1
        truth = masks.episode.known_truth()
        if not bool((truth.label_maps[0] == 1).any()):
            continue
        if len(mask_rows) < options.figures:
            attention = pixel_attention(experiment, masks, options.pixel)
            mask_rows.append(mask_panels(masks))
            attention_rows.append(attention.panels)
            numbers["drawn"].append(_drawn_entry(masks, attention))
        query_class = int(truth.classes[0, 0])
        class_id = class_id or query_class
        if query_class == class_id and len(sample) < options.points:
            sample.add(experiment, masks.episode)
    numbers["masks"] = scores.table()
    if mask_rows:
        write_sheet(out / "masks.png", mask_rows, (TILE, TILE), MASK_KEY)
        write_sheet(out / "attention.png", attention_rows, (TILE, TILE), ATTENTION_KEY)
    if options.points and class_id:
        name = experiment.data.dataset.class_names[class_id - 1]
        numbers["tsne"] = {"class": name, "pixels": write_tsne(out, sample, options.points)}
    write_text(out / "explain.json", json.dumps(numbers, indent=2) + "\n")
    return numbers


def _class_id(experiment: Experiment, name: str | None) -> int | None:
    """Return the class's number in the data set. Raises SettingsError unless the run is about it."""
    if name is None:
        return None
    numbers = {known: int(number) for number, known in experiment.data.manifest.header.class_names.items()}
    if name not in numbers:
        raise SettingsError(f"--class is '{name}', which the run is not about{known_names(name, numbers)}")
    return numbers[name]


def _drawn_entry(masks: EpisodeMasks, attention: PixelAttention) -> dict[str, Any]:
    return {
        "episode": int(masks.episode.episodes[0]),
        "otsu_thresholds": masks.thresholds,
        "pixel": attention.pixel,
        "attention_in_mask": attention.shares,
    }


def mask_panels(masks: EpisodeMasks) -> list[Panel]:
    """Draw the supports, the truth, and every kind of mask: its sum before the threshold, and the binary mask."""
    episode = masks.episode
    query = image_array(episode.images[int(episode.query[0])])
    panels = []
    supports = zip(episode.support[0, 0].tolist(), episode.support_masks[0, 0], strict=True)
    for shot, (row, mask) in enumerate(supports, 1):
        panels.append((f"support {shot}", _paint_object(image_array(episode.images[row]), mask.cpu().numpy())))
    truth = episode.known_truth().label_maps[0].cpu().numpy()
    colors = way_colors(query, truth, 1)
    panels.append((f"{int(episode.episodes[0])}: truth", paint_slots(query, truth, colors)))
    for name, mask in masks.masks.items():
        if name in masks.sums:
            panels.append((f"{name} sum", heat_map(masks.sums[name].cpu().numpy(), query)))
        caption = name if name == "final" else f"{name} Otsu"
        panels.append((caption, paint_slots(query, mask.cpu().numpy(), colors)))
    return panels


def pixel_attention(experiment: Experiment, masks: EpisodeMasks, point: tuple[float, float] | None) -> PixelAttention:
    """Draw the attention of a query point (shares of height and width; None: the object's center) to the supports."""
    episode = masks.episode
    query = image_array(episode.images[int(episode.query[0])])
    row, column = _pixel_at(episode.known_truth().label_maps[0].cpu().numpy() == 1, query.shape[0], point)
    method = cast(Any, experiment.method)
    weights = method.pixel_attention(episode.without_truth(), row, column).cpu().numpy()
    attention = PixelAttention((row, column))
    attention.panels.append((f"{int(episode.episodes[0])}: query", draw_cross(query, row, column)))
    for shot, values in enumerate(weights):
        support = image_array(episode.images[int(episode.support[0, 0, shot])])
        mask = episode.support_masks[0, 0, shot]
        share = float(values[mask.cpu().numpy()].sum() / weights.sum())
        attention.shares.append(share)
        attention.panels.append((f"support {shot + 1}", _paint_object(support, mask.cpu().numpy())))
        attention.panels.append((f"attention, {share:.0%} in mask", heat_map(values, support)))
    return attention


def _paint_object(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Paint the one object (h, w) bool of an image in the color that contrasts with it."""
    return paint_slots(pixels, mask, way_colors(pixels, mask, 1))


def _pixel_at(truth: Any, side: int, point: tuple[float, float] | None) -> tuple[int, int]:
    """Return row and column in an image of `side` pixels, at `point` or at the center of the object."""
    if point is not None:
        return int(point[0] * side), int(point[1] * side)
    row, column = object_center(truth)
    return row * side // truth.shape[0], column * side // truth.shape[1]
