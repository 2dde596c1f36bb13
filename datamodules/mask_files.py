"""Masks as people save them: black and white, grey, palette, colours, with transparency."""

from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.label_maps import from_colours, opened, read_label_map
from fsbench.errors import DataError

WHITE = {"1": (1,), "L": (255,), "LA": (255,), "I": (255, 65535), "I;16": (255, 65535), "RGB": (255,), "RGBA": (255,)}
"""Modes in which a picture of black and one of these values is one mask, not a label map."""

HALF = 128
"""Grey from which on a smoothed mask is taken."""


def read_mask(path: Path) -> np.ndarray:
    """Label map (H, W) uint8: 0 is unmarked, 255 void, anything else the number of a class.

    Black and white, also as colours, is class 1; what is transparent is unmarked; the rest as `read_label_map`, in
    which palette indices and grey values are the numbers and colours those of VOC. Raises DataError for files that
    cannot be decoded, and for JPEG, whose compression smears numbers.
    """
    with opened(path, "mask") as image:
        if image.format in ("JPEG", "MPO"):
            raise DataError(f"mask {path} is a JPEG, which smears the borders of a mask; save it as PNG")
        values, colours = _visible(image)
    if values is not None:
        found = set(np.unique(values).tolist())
        white = WHITE.get(image.mode, ())
        if any(found <= {0, level} and level in found for level in white):
            return (values > 0).astype(np.uint8)
    return read_label_map(path) if colours is None else from_colours(colours, path)


def _visible(image: Image.Image) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Grey values (H, W) where the picture has nothing else, and its colours (H, W, 3) where it has some."""
    if image.mode == "LA":
        grey, alpha = np.moveaxis(np.asarray(image), -1, 0)
        grey = np.where(alpha > 0, grey, 0)
        return grey, np.repeat(grey[..., None], 3, -1) if set(np.unique(grey).tolist()) - {0, 255} else None
    if image.mode in ("RGB", "RGBA"):
        pixels = np.asarray(image)
        colours = pixels[..., :3] * (pixels[..., 3:] > 0) if image.mode == "RGBA" else pixels
        grey = colours[..., 0] if (colours == colours[..., :1]).all() else None
        return grey, colours
    return (np.asarray(image) if image.mode in WHITE else None), None


def is_smoothed(path: Path, labels: np.ndarray) -> bool:
    """Whether what `read_mask` read of a grey file is black and white with edges in between, not class numbers: at
    least three levels between, on fewer pixels than white, or more levels than a photo has classes."""
    with opened(path, "mask") as image:
        if image.mode != "L":
            return False
    between = labels[(labels > 0) & (labels < 255)]
    levels = len(np.unique(between))
    return levels > 32 or (levels >= 3 and len(between) < int(np.count_nonzero(labels == 255)))
