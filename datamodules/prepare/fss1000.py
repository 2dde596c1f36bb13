"""FSS-1000: an archive that only a browser gets; its structure is verified."""

import re
from pathlib import Path, PurePosixPath

from datamodules.fetch import FSS1000, missing
from datamodules.fss1000 import IMAGES_PER_CLASS, INNER_FOLDERS
from datamodules.prepare.job import Job
from datamodules.prepare.list_files import provide_lists
from datamodules.prepare.unpack import publish, unpack
from fsbench.errors import DataError

ARCHIVES = tuple(
    f"{stem}{suffix}"
    for stem in ("fewshot_data", "FSS-1000", "fss-1000", "fss1000", "FSS1000")
    for suffix in (".zip", ".tar.gz", ".tgz", ".tar")
)
"""Names that the archive goes by."""
CLASSES = 1000


def prepare(job: Job) -> list[str]:
    """`<root>/FSS-1000/<class>/<number>.{jpg,png}`; nothing is unpacked where class folders are there."""
    remarks = provide_lists(job, "fss")
    folders = (job.root, *(job.root / inner for inner in INNER_FOLDERS))
    if not any(any(folder.glob("*/[0-9]*.jpg")) for folder in folders):
        archive = _find(job)
        making = job.root / ".FSS-1000.making"
        unpack(archive, making, _image)
        _check_structure(making, archive, job.allow_unverified)
        job.note(archive, None, verified=False)
        publish(making, job.root / "FSS-1000")
        remarks.append(f"{archive.name}: no checksum is published; its sha256 is in prepared.json")
    return remarks


def _find(job: Job) -> Path:
    places = [folder for folder in (job.source, job.root / "archives", job.root) if folder]
    for folder in places:
        for name in ARCHIVES:
            if (folder / name).is_file():
                return folder / name
    raise missing(
        f"no archive of FSS-1000 in {' or '.join(map(str, places))}; expected {ARCHIVES[0]}, which cannot be "
        "downloaded by a program",
        FSS1000,
    )


def _image(name: PurePosixPath) -> str | None:
    """`<class>/<number>.jpg` of whatever lies deeper; the rest of the archive is not wanted."""
    wanted = len(name.parts) >= 2 and "__MACOSX" not in name.parts and re.fullmatch(r"\d+\.(jpg|png)", name.name)
    return f"{name.parent.name}/{name.name}" if wanted else None


def _check_structure(making: Path, archive: Path, incomplete: bool) -> None:
    found = {path.name: {entry.name for entry in path.iterdir()} for path in making.iterdir()}
    expected = {f"{n}.{suffix}" for n in range(1, IMAGES_PER_CLASS + 1) for suffix in ("jpg", "png")}
    short = sorted(f"{name}/{min(expected - files)}" for name, files in found.items() if expected - files)
    if (len(found) != CLASSES or short) and not (incomplete and found):
        lacking = f", and {len(short)} of them lack images, such as {short[0]}" if short else ""
        raise DataError(
            f"archive {archive} has {len(found)} class folders{lacking}; expected {CLASSES} with 1 to "
            f"{IMAGES_PER_CLASS}; fetch it again, or use what is there with --allow-unverified"
        )
