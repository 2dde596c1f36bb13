"""Tiles: images of any shape in places of one size."""

import numpy as np

from fsbench.data.resizing import resize_by_pil

GROUND = 236
"""Gray level of a tile beside its image."""


def fit_image(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image (H, W, 3) uint8 to fit into `size` (width, height), keeping its proportions."""
    height, width = pixels.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    return resize_by_pil(pixels, max(1, round(scale * height)), max(1, round(scale * width)))


def letterbox(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a light gray tile of `size` (width, height) with an image, resized to fit, in its middle."""
    fitted = fit_image(pixels, size)
    tile = np.full((size[1], size[0], 3), GROUND, dtype=np.uint8)
    top, left = (size[1] - fitted.shape[0]) // 2, (size[0] - fitted.shape[1]) // 2
    tile[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    return tile
