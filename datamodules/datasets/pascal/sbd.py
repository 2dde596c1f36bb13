"""Convert SBD's annotations to label PNGs like those of VOC."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files.arrays import read_matlab
from fsbench.datamodules.prepare.label_images import write_label_map

CLASSES = 20


def read_segmentation(path: Path) -> np.ndarray:
    """Read `GTcls.Segmentation` of a `.mat` file.

    Returns:
        Label map (H, W) uint8: 0 background, classes 1 to 20; SBD has no void.

    Raises:
        DataError: the file cannot be read or holds anything else.
    """
    try:
        labels = np.asarray(read_matlab(path)["GTcls"][0, 0]["Segmentation"])
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


def convert(annotations: Mapping[str, Path], folder: Path) -> None:
    """Write `<folder>/<name>.png` for every annotation without one.

    Args:
        annotations: image name -> `.mat` file.
        folder: where label PNGs are written; existing ones are kept.
    """
    from tqdm import tqdm  # spares commands that draw no progress its import

    present = {path.stem for path in folder.iterdir() if path.suffix == ".png"}
    wanted = sorted(annotations.keys() - present)

    def write(name: str) -> None:
        write_label_map(folder / f"{name}.png", read_segmentation(annotations[name]))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(tqdm(pool.map(write, wanted), total=len(wanted), desc="Converting SBD", unit="image", disable=None))
