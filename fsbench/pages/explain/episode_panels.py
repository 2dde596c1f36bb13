"""Draw a method's prediction of one episode, and what the method shows of itself."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from fsbench.core.query_maps import HasQueryMaps
from fsbench.data.batch import EpisodeBatch
from fsbench.pages.explain.capabilities import HasSupportAttention
from fsbench.results.pictures.captions import MANY, iou_caption
from fsbench.results.pictures.contrast import way_colors
from fsbench.results.pictures.episodes import batch_query_pixels, draw_cross, image_array, letterbox_part, object_center
from fsbench.results.pictures.masks import SCALE, heat_map, paint_errors, paint_slots
from fsbench.results.pictures.sheet import KeyEntry, Panel, error_key
from fsbench.results.pictures.steps import STEP_KEYS, explain_captions, step_panels

ERRORS = "IoU of each way (–: nothing to find, nothing drawn), over the errors on the gray image:"
KEYS = {
    "soft mask": "soft mask: probability of one way, from 0 (dark blue) over gray to 1 (yellow)",
    "others left out": f"others left out: of more than {MANY} ways only those that are there or predicted are drawn",
    "looks from": "looks from: the cross is a point of the query; the next panels show its attention",
    "attention": f"attention: of that point to each support, {SCALE}",
    "without the mask": "without the mask: the same attention if the support's mask hid nothing",
    "removed": "removed: which share of the attention the mask hides, and where",
    **STEP_KEYS,
}
"""Part of a caption -> what its panel shows, in words."""


def panel_key(panels: Iterable[Panel]) -> list[KeyEntry]:
    """Return legend lines that explain words and colors in the captioned images of a prediction."""
    return [ERRORS, *error_key(), *explain_captions(panels, KEYS)]


def prediction_panels(
    episode: EpisodeBatch, label_map: np.ndarray, ious: Sequence[float | None], foreground: np.ndarray | None
) -> list[Panel]:
    """Draw a prediction, its errors, and the soft mask of each way, as captioned images.

    Args:
        episode: A batch of one episode, with its truth.
        label_map: (h, w), the prediction: 0 background, 1..N ways.
        ious: IoU of each way, from 0 to 1; None if the query does not show it and nothing was predicted.
        foreground: Soft masks (N, s, s) of any size, from 0 to 1; None if there are none.
    """
    own, query, truth, colors = _drawn_over(episode, len(ious))
    shown = [way for way in range(1, len(ious) + 1) if (truth == way).any()]
    panels = [
        ("", paint_slots(own, label_map, colors)),
        (iou_caption(ious, shown), paint_errors(own, label_map, truth)),
    ]
    if foreground is not None:
        panels += soft_mask_panels(foreground, query, {*shown, *np.unique(label_map).tolist()})
    return panels


def method_panels(method: Any, episode: EpisodeBatch, ways: int, pixel: tuple[float, float] | None) -> list[Panel]:
    """Draw a method's intermediate maps and, for 1-way episodes, its attention to the supports.

    Args:
        method: The method that predicts the episode.
        episode: A batch of one episode, with its truth.
        ways: Number of classes (ways) of the episode.
        pixel: Query point whose attention is drawn, as shares of height and width; None: the object's center.

    Returns:
        Captioned images; empty if the method has neither intermediate maps nor attention.
    """
    own, query, truth, colors = _drawn_over(episode, ways)
    hidden, panels = episode.without_truth(), list[Panel]()
    if isinstance(method, HasQueryMaps):
        panels += step_panels(method, hidden, query, colors)
    if ways == 1 and isinstance(method, HasSupportAttention):
        row, column = _center_point(truth == 1)
        center = row * own.shape[0] / query.shape[0], column * own.shape[1] / query.shape[1]
        panels += _support_attention(method, hidden, query, pixel or center)
    return panels


def predicted_foreground(method: Any, episode: EpisodeBatch) -> np.ndarray | None:
    """Return the soft masks (N, h, w) of a prediction; None if the method has none."""
    method.keeps_soft_masks = True  # else it may leave out what only soft masks need
    probability = method.predict_shots(episode.without_truth()).foreground()
    return None if probability is None else probability.cpu().numpy()


def _drawn_over(episode: EpisodeBatch, ways: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the query's own pixels, those with its padding, its truth in way slots, and a color for each way."""
    own = batch_query_pixels(episode)  # of a padded image; what a method shows of itself lies over the padding, too
    query = image_array(episode.images[int(episode.query[0])]) if letterbox_part(episode) is None else own
    truth = episode.known_truth().label_maps[0].cpu().numpy()
    return own, query, truth, way_colors(own, truth, ways)


def soft_mask_panels(foreground: np.ndarray, query: np.ndarray, ways: Collection[int]) -> list[Panel]:
    """Draw each way's soft mask over the query, as captioned images.

    With more than `MANY` ways, only the ways in `ways` are drawn.

    Args:
        foreground: (N, h, w), the soft mask of each way, of any size, from 0 to 1.
        query: (H, W, 3) uint8, the query's image.
        ways: numbers, from 1, of the ways that the query shows or that were predicted.
    """
    if len(foreground) == 1:
        return [("soft mask", heat_map(foreground[0], query, (0, 1)))]
    every = range(1, len(foreground) + 1)
    drawn = [way for way in every if len(foreground) <= MANY or way in ways]
    panels = [(f"soft mask {way}", heat_map(foreground[way - 1], query, (0, 1))) for way in drawn]
    left_out = len(every) - len(drawn)
    if left_out:
        panels.append((f"{left_out} others left out", np.full_like(query, 255)))
    return panels


def _center_point(mask: np.ndarray) -> tuple[float, float]:
    """Return the center of the object as shares of height and width."""
    row, column = object_center(mask)
    return row / mask.shape[0], column / mask.shape[1]


def _support_attention(
    method: HasSupportAttention, episode: EpisodeBatch, query: np.ndarray, point: tuple[float, float]
) -> list[Panel]:
    """Draw a query point's attention to each support, and where the method has it, what the support's mask removes."""
    row, column = point
    panels = [("looks from", draw_cross(query, int(row * query.shape[0]), int(column * query.shape[1])))]
    maps = {name: values.cpu().numpy() for name, values in method.support_attention(episode, row, column).items()}
    for shot, image in enumerate(episode.support[0, 0].tolist()):
        support = image_array(episode.images[image])
        panels += [(name, heat_map(values[shot], support)) for name, values in maps.items()]
        if "without the mask" in maps:
            masked, unmasked = maps["attention"][shot], maps["without the mask"][shot]
            removed = float(unmasked[masked == 0].sum() / max(unmasked.sum(), 1e-12))
            panels.append((f"removed: {removed:.0%}", heat_map(np.where(masked == 0, unmasked, 0), support)))
    return panels
