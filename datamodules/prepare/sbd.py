"""SBD's annotations as label PNGs like those of VOC."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.label_maps import voc_colours
from fsbench.errors import DataError
from fsbench.files import replacing

CLASSES = 20


def read_segmentation(path: Path) -> np.ndarray:
    """Label map (H, W) uint8, `GTcls.Segmentation` of a `.mat` file: 0 background, 1 to 20; SBD has no void.

    Raises DataError for anything else.
    """
    import scipy.io

    try:
        labels = np.asarray(scipy.io.loadmat(path)["GTcls"][0, 0]["Segmentation"])
    except Exception as error:  # a damaged file can raise nearly anything
        raise DataError(
            f"annotation {path} cannot be read ({error}); expected GTcls.Segmentation in a .mat file; fetch the SBD "
            "archive again"
        ) from error
    if (
        labels.ndim != 2
        or labels.size == 0
        or labels.dtype.kind not in "ui"
        or labels.min() < 0
        or labels.max() > CLASSES
    ):
        raise DataError(
            f"annotation {path} holds a {labels.dtype} array of shape {labels.shape}; expected a label map with the "
            f"numbers 0 to {CLASSES}; fetch the SBD archive again"
        )
    return labels.astype(np.uint8)


def write_label_map(path: Path, labels: np.ndarray) -> None:
    """A palette PNG in VOC's colours of (H, W) uint8."""
    image = Image.frombytes("P", labels.shape[::-1], np.ascontiguousarray(labels).tobytes())
    image.putpalette(voc_colours().tobytes())
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def convert(annotations: Mapping[str, Path], folder: Path) -> None:
    """`<folder>/<name>.png` of every annotation; those that are there are kept."""
    from tqdm import tqdm

    present = {path.stem for path in folder.iterdir() if path.suffix == ".png"}
    wanted = sorted(annotations.keys() - present)

    def one(name: str) -> None:
        write_label_map(folder / f"{name}.png", read_segmentation(annotations[name]))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(tqdm(pool.map(one, wanted), total=len(wanted), desc="Converting SBD", unit="image", disable=None))
