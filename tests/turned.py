"""Images whose EXIF entry turns them, as a camera stores them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.swapaxes(0, 1),
    6: lambda seen: np.rot90(seen),
    7: lambda seen: seen.swapaxes(0, 1)[::-1, ::-1],
    8: lambda seen: np.rot90(seen, -1),
}
"""EXIF orientation -> the stored form of what people see."""


def save_turned(path: Path, seen: np.ndarray, orientation: int) -> None:
    """Write pixels (H, W, 3) such that viewers show them as they are, by an entry that turns what is stored."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(STORED[orientation](seen))).save(path, exif=exif)
