"""Read mask files as people save them: black and white, gray, palette, color, with transparency."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from PIL import Image

from fsbench.data.image_io import from_colours, open_labels, read_label_map
from fsbench.data.palettes import SeenColours

WHITE = {"1": (1,), "L": (255,), "LA": (255,), "I": (255, 65535), "I;16": (255, 65535), "RGB": (255,), "RGBA": (255,)}
"""PIL mode -> the values of white: an image of black and one of these is a single mask, not a label map."""

HALF = 128
"""The gray value from which on a pixel of a smoothed mask is foreground."""


def read_mask(
    path: Path, seen: SeenColours | None = None, classes: Collection[int] = (), *, is_one_class: bool = False
) -> np.ndarray:
    """Read a mask file as a label map (H, W) uint8: 0 is unmarked, 255 void, anything else a class number.

    Black and white, also in a color mode, is class 1; transparent pixels are unmarked. Anything else is read by
    `read_label_map`: palette indices and gray values are class numbers, colors follow the VOC color map.

    Args:
        path: The file.
        seen: As of `read_label_map`, of files whose numbers mean the same classes.
        classes, is_one_class: As of `read_label_map`.

    Raises:
        DataError: As of `read_label_map`.
    """
    with open_labels(path, "mask") as image:
        gray, colors = _gray_and_colors(image)
    if gray is not None:
        values = set(np.unique(gray).tolist())
        if any(values <= {0, white} and white in values for white in WHITE.get(image.mode, ())):
            return (gray > 0).astype(np.uint8)
    if colors is not None:
        return from_colours(colors, path)
    return read_label_map(path, seen, classes, is_one_class=is_one_class)


def _gray_and_colors(image: Image.Image) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return gray values (H, W), None for a colorful image, and colors (H, W, 3), None for a mode without any.

    Transparent pixels are black in both.
    """
    if image.mode == "LA":
        gray, alpha = np.moveaxis(np.asarray(image), -1, 0)
        gray = np.where(alpha > 0, gray, 0)
        return gray, np.repeat(gray[..., None], 3, -1) if set(np.unique(gray).tolist()) - {0, 255} else None
    if image.mode in ("RGB", "RGBA"):
        pixels = np.asarray(image)
        colors = pixels[..., :3] * (pixels[..., 3:] > 0) if image.mode == "RGBA" else pixels
        return (colors[..., 0] if (colors == colors[..., :1]).all() else None), colors
    return (np.asarray(image) if image.mode in WHITE else None), None


def is_smoothed(path: Path, labels: np.ndarray) -> bool:
    """True if a gray mask file is black and white with smoothed edges rather than a map of class numbers.

    It is when there are at least three gray levels on fewer pixels than white has, or more levels than an image has
    classes.

    Args:
        path: The mask file.
        labels: What `read_mask` returned for it.
    """
    with open_labels(path, "mask") as image:
        if image.mode != "L":
            return False
    between = labels[(labels > 0) & (labels < 255)]
    levels = len(np.unique(between))
    return levels > 32 or (levels >= 3 and len(between) < int(np.count_nonzero(labels == 255)))
