"""Prepare ISIC 2018 Task 1: its images in a folder for each kind of lesion, its masks in one."""

import re
from pathlib import Path, PurePosixPath

from fsbench.data.source import read_source
from fsbench.datamodules.datasets.isic.index import IMAGES, MASKS, NUMBERINGS, lesion_classes
from fsbench.datamodules.prepare.job import Job, incomplete, unpublished
from fsbench.datamodules.prepare.making import has_content, making_place, publish
from fsbench.datamodules.prepare.unpack import unpack

ARCHIVES = read_source("fsbench.datamodules.datasets.isic").archives


def prepare(job: Job) -> list[str]:
    """Make `<root>/ISIC2018_Task1-2_Training_Input/<1 to 3>`, numbered as IFA does, and the folder of masks.

    Returns remarks for the user.

    Raises:
        DataError: an archive is not to be had, or lacks listed images.
    """
    remarks = []
    for folder, place in ((IMAGES, _image), (MASKS, _mask)):
        target = job.root / folder
        if has_content(target):
            continue
        archive = job.obtain(ARCHIVES[f"{folder}.zip"])
        with making_place(target) as making:
            unpack(archive, making, place)
            _check_complete(making, archive, job.allow_unverified)
            publish(making, target)
        remarks.append(unpublished(archive.name))
    return remarks


def _image(name: PurePosixPath) -> str | None:
    """Return `<number>/<id>.jpg` of a listed image; None for the rest of the archive."""
    kind = lesion_classes().get(name.stem) if name.suffix == ".jpg" else None
    return f"{NUMBERINGS['ifa'].index(kind) + 1}/{name.name}" if kind else None


def _mask(name: PurePosixPath) -> str | None:
    """Return the name of a listed image's mask; None for the rest of the archive."""
    match = re.fullmatch(r"(ISIC_\d+)_segmentation\.png", name.name)
    return name.name if match and match[1] in lesion_classes() else None


def _check_complete(making: Path, archive: Path, allow_incomplete: bool) -> None:
    """Raise DataError unless a file of every listed image is there, or some with `allow_incomplete`."""
    found = sum(path.is_file() for path in making.rglob("*"))
    if found != len(lesion_classes()) and not (allow_incomplete and found):
        raise incomplete(archive, f"files of {found} listed images", str(len(lesion_classes())))
