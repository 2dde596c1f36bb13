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
