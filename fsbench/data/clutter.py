"""Clutter of an image: how much its brightness changes from pixel to pixel."""

import numpy as np
from PIL import Image

SIDE = 128
"""Longer side in pixels that images are reduced to before their clutter is measured."""


def clutter(pixels: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return the mean difference of brightness between neighbouring pixels, in percent of the range.

    Args:
        pixels: (H, W, 3) uint8.
        mask: (H, W) bool, an object, beside which alone is measured; None measures the whole image.

    Returns:
        The mean; NaN where there are no two neighbours.
    """
    scale = min(1.0, SIDE / max(pixels.shape[:2]))
    size = max(round(pixels.shape[1] * scale), 2), max(round(pixels.shape[0] * scale), 2)
    gray = np.asarray(Image.fromarray(pixels).convert("L").resize(size, Image.Resampling.BOX), float) / 2.55
    beside = np.ones(gray.shape, bool)
    if mask is not None:
        beside = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)) == 0
    down = np.abs(np.diff(gray, axis=0))[beside[1:] & beside[:-1]]
    across = np.abs(np.diff(gray, axis=1))[beside[:, 1:] & beside[:, :-1]]
    together = np.concatenate([down, across])
    return float(together.mean()) if together.size else float("nan")
