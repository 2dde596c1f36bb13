"""The annotations of SBD, which become label maps beside those of PASCAL VOC."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import replacing
from fsbench.base.files.arrays import read_matlab
from fsbench.data.picture_file import one_line
from fsbench.data.source import Archive
from fsbench.datamodules.prepare.folders import wanted_file
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.label_images import write_label_maps
from fsbench.datamodules.prepare.making import discard, has_content, publish
from fsbench.datamodules.prepare.unpack import unpack

CLASSES = 20
SBD_TRAIN = "sbd_train.txt"
"""In `ImageSets/Segmentation`: train.txt of SBD."""
MAPS = "SegmentationClassAug"
"""Folder of the label maps of both data sets."""


def merge_sbd(job: Job, archive: Archive, voc: Path) -> None:
    """Make `SegmentationClassAug`: VOC's label maps unchanged, SBD's for every image without one of VOC.

    Args:
        job: folders and options of the preparation.
        archive: SBD's archive.
        voc: the folder VOC2012.

    Raises:
        DataError: the archive is not available, or holds other things than SBD's annotations.
    """
    raw, making = job.root / ".sbd.making", voc / f".{MAPS}.making"
    if not has_content(voc / MAPS):
        unpack(job.obtain(archive), raw, partial(wanted_file, archive.files))
        annotations = {path.stem: path for path in (raw / "dataset/cls").glob("*.mat")}
        own = {path.stem: path for path in sorted((voc / "SegmentationClass").glob("*.png"))}
        if not annotations or not own:
            empty = archive.name if not annotations else voc / "SegmentationClass"
            raise DataError(f"{empty} has no annotations; expected those of the published archive; fetch it again")
        making.mkdir(exist_ok=True)
        for name, path in own.items():
            with replacing(making / f"{name}.png", durable=False) as temporary:
                shutil.copyfile(path, temporary)
        others = annotations.keys() - own.keys()
        write_label_maps(making, others, lambda name: read_sbd(annotations[name]), "Converting SBD")
        if (raw / "dataset/train.txt").is_file():  # PFENet-like training lists follow it
            shutil.copyfile(raw / "dataset/train.txt", voc / "ImageSets/Segmentation" / SBD_TRAIN)
        publish(making, voc / MAPS)
    discard(raw)  # here, as a killed process may have left it


def read_sbd(path: Path) -> np.ndarray:
    """Read the label map `GTcls.Segmentation` from a `.mat` file of SBD.

    Returns:
        Label map (H, W) uint8: 0 background, classes 1 to 20; SBD has no void.

    Raises:
        DataError: the file cannot be read or holds anything else.
    """
    try:
        labels = np.asarray(read_matlab(path)["GTcls"][0, 0]["Segmentation"])
    except Exception as error:  # a damaged file can raise nearly anything
        raise DataError(
            f"annotation {path} cannot be read ({one_line(error)}); expected GTcls.Segmentation in a .mat file; "
            "fetch the SBD archive again"
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
