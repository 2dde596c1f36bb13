"""Prepare FSS-1000 from an archive that only a browser can fetch; its structure is verified."""

import re
from pathlib import Path, PurePosixPath

from fsbench.datamodules.datasets.fss1000.index import IMAGES_PER_CLASS, INNER_FOLDERS
from fsbench.datamodules.prepare.by_hand import find_archive
from fsbench.datamodules.prepare.job import Job, incomplete, unpublished
from fsbench.datamodules.prepare.list_files import provide_lists
from fsbench.datamodules.prepare.making import making_place, publish
from fsbench.datamodules.prepare.unpack import unpack

ARCHIVES = tuple(
    f"{stem}{suffix}"
    for stem in ("fewshot_data", "FSS-1000", "fss-1000", "fss1000", "FSS1000")
    for suffix in (".zip", ".tar.gz", ".tgz", ".tar")
)
"""File names under which the archive is known."""
CLASSES = 1000
"""Classes of the complete data set."""


def prepare(job: Job) -> list[str]:
    """Make `<root>/FSS-1000/<class>/<number>.{jpg,png}`; nothing is unpacked where class folders are present.

    Returns remarks for the user.
    """
    remarks = provide_lists(job, "fsbench.datamodules.datasets.fss1000")
    folders = (job.root, *(job.root / inner for inner in INNER_FOLDERS))
    if not any(any(folder.glob("*/[0-9]*.jpg")) for folder in folders):
        archive = find_archive(job, ARCHIVES, "FSS-1000", __package__)
        with making_place(job.root / "FSS-1000") as making:
            unpack(archive, making, _image)
            _check_structure(making, archive, job.allow_unverified)
            job.note(archive, None, verified=False)
            publish(making, job.root / "FSS-1000")
        remarks.append(unpublished(archive.name))
    return remarks


def _image(name: PurePosixPath) -> str | None:
    """Return `<class>/<number>.{jpg,png}` of an image or mask at any depth; None for the rest of the archive."""
    wanted = len(name.parts) >= 2 and "__MACOSX" not in name.parts and re.fullmatch(r"\d+\.(jpg|png)", name.name)
    return f"{name.parent.name}/{name.name}" if wanted else None


def _check_structure(making: Path, archive: Path, allow_incomplete: bool) -> None:
    """Raise DataError unless `making` holds all classes with all images, or some classes with `allow_incomplete`."""
    classes = {path.name: {entry.name for entry in path.iterdir()} for path in making.iterdir()}
    expected = {f"{n}.{suffix}" for n in range(1, IMAGES_PER_CLASS + 1) for suffix in ("jpg", "png")}
    missing_files = sorted(f"{name}/{min(expected - files)}" for name, files in classes.items() if expected - files)
    if (len(classes) != CLASSES or missing_files) and not (allow_incomplete and classes):
        example = f", and {len(missing_files)} of them lack images, such as {missing_files[0]}" if missing_files else ""
        found = f"{len(classes)} class folders{example}"
        raise incomplete(archive, found, f"{CLASSES} with 1 to {IMAGES_PER_CLASS}")
