"""Palette images, and what programs that make images smaller do to them: the same picture, other places."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def save_palette(path: Path, labels: np.ndarray, palette: np.ndarray, **options: Any) -> None:
    """Write labels (H, W) uint8 as places in a palette (n, 3)."""
    image = Image.frombytes("P", labels.shape[::-1], labels.astype(np.uint8).tobytes())
    image.putpalette(np.asarray(palette, np.uint8).tobytes())
    image.save(path, **options)


def recompress(path: Path, rng: np.random.RandomState) -> None:
    """Leave out the entries of a PNG's palette that no pixel has, and put the rest into another order."""
    with Image.open(path) as image:
        labels, pixels = np.asarray(image), np.asarray(image.convert("RGB"))
    colours, places = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    order = rng.permutation(len(colours))
    shuffled = np.argsort(order)[places.reshape(labels.shape)]
    save_palette(path, shuffled, colours[order])
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pixels)
