"""Prepare the chest X-rays from an archive that only a browser can fetch."""

import re
from pathlib import Path, PurePosixPath

from fsbench.datamodules.datasets.lung.index import IMAGES, MASKS
from fsbench.datamodules.prepare.by_hand import find_archive
from fsbench.datamodules.prepare.job import Job, incomplete, unpublished
from fsbench.datamodules.prepare.making import has_content, making_place, publish
from fsbench.datamodules.prepare.unpack import unpack

ARCHIVES = ("chest-xray-masks-and-labels.zip", "archive.zip", "LungSegmentation.zip", "Lung Segmentation.zip")
"""File names under which the archive is known."""
SHENZHEN, EVERY = 566, 704
"""Masks of Shenzhen, and of both hospitals."""
FOLDER = "LungSegmentation"


def prepare(job: Job) -> list[str]:
    """Make `<root>/LungSegmentation/{CXR_png,masks}` of Shenzhen's images; returns remarks for the user."""
    return prepare_images(job, r"CHNCXR_\w+", SHENZHEN)


def prepare_images(job: Job, wanted: str, masks: int) -> list[str]:
    """Unpack images and masks whose names have the form `wanted`, of which `masks` have a mask.

    Raises:
        DataError: there is no archive, or it has another number of masks.
    """
    target = job.root / FOLDER
    if has_content(target) or has_content(job.root / MASKS):
        return []
    archive = find_archive(job, ARCHIVES, "the chest X-rays", __package__)

    taken: dict[str, PurePosixPath] = {}  # the archive may hold the same folders twice

    def place(name: PurePosixPath) -> str | None:
        """Return `CXR_png/<file>` or `masks/<file>` of the first of that name; None for the rest of the archive."""
        folder = name.parent.name if "__MACOSX" not in name.parts else ""
        if folder not in (IMAGES, MASKS) or not re.fullmatch(rf"(?:{wanted})\.png", name.name):
            return None
        path = f"{folder}/{name.name}"
        return path if taken.setdefault(path, name) == name else None

    with making_place(target) as making:
        unpack(archive, making, place)
        _check_complete(making, archive, masks, job.allow_unverified)
        job.note(archive, None, verified=False)
        publish(making, target)
    return [unpublished(archive.name)]


def _check_complete(making: Path, archive: Path, masks: int, allow_incomplete: bool) -> None:
    """Raise DataError unless there are as many masks as there should be, or some with `allow_incomplete`."""
    found = sum(1 for _ in (making / MASKS).glob("*.png"))
    if found != masks and not (allow_incomplete and found):
        raise incomplete(archive, f"{found} masks", str(masks))
