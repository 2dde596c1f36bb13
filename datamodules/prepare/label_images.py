"""Write label maps as the PNG files that other programs read."""

from pathlib import Path

import numpy as np
from PIL import Image

from fsbench.base.files import replacing
from fsbench.data.palettes import voc_colors


def write_label_map(path: Path, labels: np.ndarray) -> None:
    """Write the label map (H, W) uint8 as a palette PNG in VOC's colors."""
    image = Image.frombytes("P", labels.shape[::-1], np.ascontiguousarray(labels).tobytes())
    image.putpalette(voc_colors().tobytes())
    with replacing(path, durable=False) as temporary:
        image.save(temporary, format="PNG")


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write a mask (H, W) bool in black and white, as OpenCV encodes a PNG."""
    import cv2  # which an installation that makes no runs lacks

    write_bytes(path, cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=False) as temporary:
        temporary.write_bytes(content)
