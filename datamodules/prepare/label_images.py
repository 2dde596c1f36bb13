"""Write label maps as the PNG files that other programs read."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
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


def write_label_maps(
    folder: Path, names: Iterable[str], label_map: Callable[[str], np.ndarray], description: str
) -> None:
    """Write `<folder>/<name>.png` for every name that has none yet.

    Args:
        folder: where label PNGs are written; existing ones are kept.
        names: names of the images.
        label_map: function from a name to the label map (H, W) uint8; runs in threads.
        description: shown beside the progress bar.
    """
    from tqdm import tqdm  # spares commands that draw no progress its import

    present = {path.stem for path in folder.glob("*.png")}
    wanted = sorted(set(names) - present)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        written = pool.map(lambda name: write_label_map(folder / f"{name}.png", label_map(name)), wanted)
        list(tqdm(written, total=len(wanted), desc=description, unit="image", disable=None))
