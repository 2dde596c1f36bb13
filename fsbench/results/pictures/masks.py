"""Draw masks, errors and values over an image (H, W, 3) uint8 so that they are seen on any image. Inputs stay as they
are.

A mask has a light fill in its way's color and an outline of two lines, dark outside and light inside, of which one
stands out on every ground. Void is hatched. Errors and values lie over a gray image, whose colors cannot be mistaken
for theirs. Lines are as wide as the image is large, so that an image can be made smaller afterwards.
"""

import cv2
import numpy as np

from fsbench.data.dataset import VOID
from fsbench.data.label_maps import resize_labels
from fsbench.data.warping import resize_by_opencv
from fsbench.results.pictures.error_map import error_map
from fsbench.results.pictures.palette import (
    DARK_LINE,
    ERROR_COLORS,
    ERROR_FILL,
    FILL,
    HATCH_DARK,
    HATCH_LIGHT,
    WAY_COLORS,
    Color,
)

LINES_PER_SIDE = 200
"""Widths of a line along the longer side of an image."""
HATCH_PERIOD = 6
"""Widths of a line from one hatch to the next."""
HEAT_FILL = 0.65
"""Opacity of a value's color over the gray image."""
SCALE = "from least (dark blue) over gray to most (yellow)"
"""The colors of `heat_map` in words."""


def line_width(shape: tuple[int, ...]) -> int:
    """Return the width in pixels of an outline's lines on an image of `shape` (H, W, ...)."""
    return max(1, round(max(shape[:2]) / LINES_PER_SIDE))


def paint_slots(
    pixels: np.ndarray, slots: np.ndarray, colors: np.ndarray = WAY_COLORS, fill: float = FILL
) -> np.ndarray:
    """Return the image with its ways (labelled objects) filled and outlined, and void pixels hatched.

    Args:
        pixels: (H, W, 3) uint8.
        slots: (h, w) label map of any size, resized to the image's: 0 background, 1..N ways, 255 void.
        colors: (n, 3) uint8, used in turn for labels 1, 2, ….
        fill: Opacity of the fill, from 0 to 1.
    """
    slots = resize_labels(slots.astype(np.uint8), *pixels.shape[:2])
    void = slots == VOID
    ways = np.where(void, 0, slots) if void.any() else slots
    colored = _label_colors(ways, colors)
    painted = hatch(_lay_over(pixels, ways, colored, fill), void)
    inner, outer = outline(ways, line_width(pixels.shape))
    return np.asarray(cv2.copyTo(colored, inner, _darken(painted, outer)), dtype=np.uint8)


def paint_mask(pixels: np.ndarray, mask: np.ndarray, color: Color) -> np.ndarray:
    """Return an image (H, W, 3) uint8 with the pixels where a mask (h, w), of any size, is 1 filled and outlined."""
    return paint_slots(pixels, np.asarray(mask) == 1, np.array([color], dtype=np.uint8))


def paint_errors(pixels: np.ndarray, prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the image in gray with the kinds of errors of a prediction drawn in color, and void hatched.

    Args:
        pixels: (H, W, 3) uint8.
        prediction, truth: label maps (h, w): 0 background, 1..N ways; in the truth 255 is void.
    """
    kinds = resize_labels(error_map(prediction, truth), *pixels.shape[:2])
    shown = np.where(kinds == VOID, 0, kinds)
    painted = hatch(_lay_over(gray(pixels), shown, _label_colors(shown, ERROR_COLORS), ERROR_FILL), kinds == VOID)
    return _darken(painted, outline(shown, line_width(pixels.shape))[1])


def heat_map(values: np.ndarray, image: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Return an image in gray with values drawn over it: dark blue (low) over gray to yellow (high).

    Args:
        values: (h, w), of any size; the colors are resized to the image's.
        image: (H, W, 3) uint8.
        limits: Values at the ends of the color scale; by default the smallest and largest value.
    """
    low, high = limits or (float(values.min()), float(values.max()))
    level = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    colors = cv2.applyColorMap(np.rint(255 * level).astype(np.uint8), cv2.COLORMAP_CIVIDIS)[..., ::-1]
    resized = resize_by_opencv(np.ascontiguousarray(colors), *image.shape[:2])
    return np.asarray(cv2.addWeighted(resized, HEAT_FILL, gray(image), 1 - HEAT_FILL, 0), dtype=np.uint8)


def gray(pixels: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) uint8 in gray, compressed so that neither black nor white occurs."""
    level = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    return np.repeat((56 + level // 2)[..., None], 3, axis=2).astype(np.uint8)


def hatch(pixels: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Draw slanted lines, dark and light in pairs, over the pixels `where` (H, W) bool of an image."""
    painted = pixels.copy()
    if not where.any():
        return painted
    rows, columns = np.nonzero(where)
    phase = (rows + columns) // line_width(pixels.shape) % HATCH_PERIOD
    for line, (level, opacity) in enumerate((HATCH_LIGHT, HATCH_DARK)):
        at = rows[phase == line], columns[phase == line]
        painted[at] = np.rint(opacity * level + (1 - opacity) * pixels[at]).astype(np.uint8)
    return painted


def _label_colors(labels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Return the color (H, W, 3) of every label (H, W); that of 0 means nothing."""
    table = colors[(np.arange(256) - 1) % len(colors)].astype(np.uint8)
    return np.asarray(cv2.LUT(cv2.merge([labels] * 3), table[None]), dtype=np.uint8)  # much faster than indexing


def _lay_over(pixels: np.ndarray, labels: np.ndarray, colored: np.ndarray, opacity: float) -> np.ndarray:
    """Lay the colors of labels above 0 over an image."""
    blended = cv2.addWeighted(colored, opacity, pixels, 1 - opacity, 0)
    return np.asarray(cv2.copyTo(blended, labels, pixels.copy()), dtype=np.uint8)


def _darken(pixels: np.ndarray, line: np.ndarray) -> np.ndarray:
    dark = np.broadcast_to(np.array(DARK_LINE, dtype=np.uint8), pixels.shape)
    return np.asarray(cv2.copyTo(np.ascontiguousarray(dark), line, pixels), dtype=np.uint8)


def outline(labels: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the inner and outer line, (H, W) uint8 masks, around regions whose label is above 0."""
    window = np.ones((2 * width + 1, 2 * width + 1), dtype=np.uint8)
    largest = cv2.dilate(labels, window)
    inner = (labels > 0) & (cv2.erode(labels, window) != largest)
    return inner.astype(np.uint8), ((labels == 0) & (largest > 0)).astype(np.uint8)
