"""Write label maps as the PNG files that other programs read."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.base.files import is_file, read_text, replacing, write_text
from fsbench.data.palettes import voc_colors

RENDERED = "rendered-from.txt"
"""File beside rendered label maps with what they follow from, such as a checksum and the rule that painted them."""


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


def render(
    folder: Path, origin: str, names: Iterable[str], label_map: Callable[[str], np.ndarray], description: str
) -> None:
    """Write the label maps of `names` into `folder`, unless those of the same `origin` are there.

    Written files of the same origin are kept, so that an interrupted call goes on where it stopped.

    Args:
        folder: where label PNGs are written, created if absent.
        origin: text that changes with what the label maps follow from; it stays in the file `RENDERED` beside them.
        names, label_map, description: as for `write_label_maps`.

    Raises:
        DataError: the folder has label maps that were not rendered by this function.
    """
    folder.mkdir(exist_ok=True)
    marker, part = folder / RENDERED, folder / f"{RENDERED}.part"
    if is_file(marker) and read_text(marker, "list").strip() == origin:
        return
    if not is_file(part) and not is_file(marker) and any(folder.glob("*.png")):
        raise DataError(
            f"{folder} has label maps of another program; expected none, or those of an earlier --render; move them "
            "elsewhere, or leave --render out"
        )
    if not is_file(part) or read_text(part, "list").strip() != origin:
        for path in folder.glob("*.png"):  # of another origin
            path.unlink()
        write_text(part, f"{origin}\n")
    write_label_maps(folder, names, label_map, description)
    part.replace(marker)
