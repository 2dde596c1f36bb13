"""Draw a method's prediction of one episode, and what the method shows of itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fsbench.data.batch import EpisodeBatch
from fsbench.errors import SettingsError
from fsbench.explain.capabilities import HasCoarseMasks, HasScanMemory, HasSupportAttention
from fsbench.explain.coarse_masks import binary_sum
from fsbench.explain.scan_memory import memory_panels
from fsbench.visualization.colors import QUERY_COLOR
from fsbench.visualization.episodes import (
    draw_cross,
    object_center,
    paint_errors,
    paint_mask,
    paint_slots,
    pixels_of,
)
from fsbench.visualization.plots import heat_map
from fsbench.visualization.sheet import Panel

PLOT_SIDE = 200
"""Side of a plot of curves in pixels."""


def prediction_panels(
    method: Any,
    episode: EpisodeBatch,
    label_map: np.ndarray,
    ious: Sequence[float | None],
    pixel: tuple[float, float] | None,
) -> list[Panel]:
    """Draw the prediction, its errors, the soft mask of each way and, for 1-way episodes, what the method can show.

    Args:
        method: Predicted the episode.
        episode: A batch of one episode, with its truth.
        label_map: (h, w), the prediction in way slots.
        ious: IoU of each way.
        pixel: Query point whose attention is drawn, as shares of height and width; None: the object's center.
    """
    query, hidden = pixels_of(episode.images[int(episode.query[0])]), episode.without_truth()
    truth = episode.known_truth().label_maps[0].cpu().numpy()
    values = ", ".join("–" if iou is None else f"{100 * iou:.1f}" for iou in ious)
    panels = [("", paint_slots(query, label_map)), (f"IoU {values}", paint_errors(query, label_map, truth))]
    panels += _soft_masks(method, hidden, query)
    if len(ious) > 1:
        return panels
    if isinstance(method, HasCoarseMasks):
        panels += _coarse_masks(method, hidden, query)
    if isinstance(method, HasSupportAttention):
        panels += _support_attention(method, hidden, query, pixel or _center_point(truth == 1))
    if isinstance(method, HasScanMemory):
        panels += _scan_memory(method, hidden)
    return panels


def _soft_masks(method: Any, episode: EpisodeBatch, query: np.ndarray) -> list[Panel]:
    logits = method.predict_shots(episode).logits
    if logits is None:
        return []
    foreground = logits.float().softmax(1)[:, 1].cpu().numpy()
    numbers = [f" {way}" if len(foreground) > 1 else "" for way in range(1, len(foreground) + 1)]
    return [
        (f"soft mask{number}", heat_map(mask, query, (0, 1))) for number, mask in zip(numbers, foreground, strict=True)
    ]


def _coarse_masks(method: HasCoarseMasks, episode: EpisodeBatch, query: np.ndarray) -> list[Panel]:
    size = (int(episode.query_sizes[0, 0]), int(episode.query_sizes[0, 1]))
    panels = []
    for scale, masks in method.coarse_masks(episode).items():
        _, binary = binary_sum(masks, size)
        panels.append((f"1/{scale} sum", heat_map(masks.sum(0).cpu().numpy(), query)))
        panels.append((f"1/{scale} Otsu", paint_mask(query, binary, QUERY_COLOR)))
    return panels


def _center_point(mask: np.ndarray) -> tuple[float, float]:
    """Return the center of the object as shares of height and width."""
    row, column = object_center(mask)
    return row / mask.shape[0], column / mask.shape[1]


def _support_attention(
    method: HasSupportAttention, episode: EpisodeBatch, query: np.ndarray, point: tuple[float, float]
) -> list[Panel]:
    """Draw a query point's attention to each support, with and without its mask, and what the mask removes."""
    row, column = point
    panels = [("looks from", draw_cross(query, int(row * query.shape[0]), int(column * query.shape[1])))]
    maps = {name: values.cpu().numpy() for name, values in method.support_attention(episode, row, column).items()}
    for shot, image in enumerate(episode.support[0, 0].tolist()):
        support = pixels_of(episode.images[image])
        masked, unmasked = maps["attention"][shot], maps["without the mask"][shot]
        removed = float(unmasked[masked == 0].sum() / max(unmasked.sum(), 1e-12))
        panels += [(name, heat_map(values[shot], support)) for name, values in maps.items()]
        panels.append((f"removed: {removed:.0%}", heat_map(np.where(masked == 0, unmasked, 0), support)))
    return panels


def _scan_memory(method: HasScanMemory, episode: EpisodeBatch) -> list[Panel]:
    try:
        curves = method.memory_of(episode)
    except SettingsError:  # this run's method has no state
        return []
    return memory_panels(curves, "state ~ support", "query, as scanned", PLOT_SIDE)
