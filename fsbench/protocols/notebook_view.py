"""An episode in a notebook: its query and its supports with the outlines of their masks, and nothing of its truth."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape
from io import BytesIO
from itertools import islice

import numpy as np
from PIL import Image

from fsbench.data.connected import Box
from fsbench.data.label_maps import resize_labels_pil
from fsbench.data.resizing import resize_by_pil

HEIGHT = 140
"""Height of an image in pixels."""
MOST_SUPPORTS = 12
"""Supports of an episode that are shown at most."""
LIGHT, DARK = (255, 255, 0), (16, 16, 16)
"""Inner and outer line of an outline, of which one is seen on every image."""

Tile = tuple[str, np.ndarray]
"""Caption, and image (H, W, 3) uint8."""


def tiles_html(title: str, queries: Sequence[Tile], supports: Iterator[Tile], count: int) -> str:
    """Return HTML that shows the images of an episode side by side, as embedded PNGs; all text is escaped.

    Args:
        title: a line above the images.
        queries: (caption, pixels (H, W, 3) uint8) of each query.
        supports: (caption, pixels (H, W, 3) uint8) of each support; only the first `MOST_SUPPORTS` are read and shown.
        count: number of all supports; a line says how many are not shown.
    """
    shown = [*queries, *islice(supports, MOST_SUPPORTS)]
    left = f"<div>and {count - MOST_SUPPORTS} more supports</div>" if count > MOST_SUPPORTS else ""
    figures = "".join(_figure(*tile) for tile in shown)
    return f'<div>{escape(title)}</div><div style="display: flex; flex-wrap: wrap">{figures}</div>{left}'


def outlined(pixels: np.ndarray, mask: np.ndarray | None, box: Box | None = None) -> np.ndarray:
    """Return an image resized to the height of a tile, with its mask's outline or its box drawn.

    Args:
        pixels: (H, W, 3) uint8.
        mask: (H, W); the outline of label 1 is drawn.
        box: (x, y, width, height) in pixels, drawn in place of a mask.

    Returns:
        The image (HEIGHT, w, 3) uint8.
    """
    height, width = pixels.shape[:2]
    size = HEIGHT, max(1, round(width * HEIGHT / height))
    small = resize_by_pil(pixels, *size)
    if box is not None:
        x, y, w, h = box
        mask = np.zeros((height, width), np.uint8)
        mask[round(y) : max(round(y + h), round(y) + 1), round(x) : max(round(x + w), round(x) + 1)] = 1
    if mask is not None:
        inside = resize_labels_pil((mask == 1).astype(np.uint8), *size) == 1
        small[_grown(inside) & ~inside] = DARK
        small[inside & _grown(~inside)] = LIGHT
    return small


def _grown(region: np.ndarray) -> np.ndarray:
    """Return a region (h, w) bool with its neighbours above, below, left and right."""
    padded = np.pad(region, 1)
    return padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]


def _figure(caption: str, pixels: np.ndarray) -> str:
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    picture = b64encode(file.getvalue()).decode()
    return (
        f'<figure style="margin: 4px"><img alt="{escape(caption)}" src="data:image/png;base64,{picture}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
