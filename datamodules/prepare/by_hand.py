"""Archives and files that no program can fetch: they are looked for where the user put them."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from fsbench.base.errors import DataError
from fsbench.base.files import is_file, replacing
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.making import making_place, publish
from fsbench.datamodules.prepare.unpack import unpack

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Ends of names of archives, which are read whatever they are packed with."""


def find_archive(job: Job, archive: ByHand, source: Source) -> Path:
    """Find an archive that the user downloaded, in the folder of `--from`, in `<root>/archives` or in the root.

    Args:
        job: folders and options of the preparation.
        archive: the archive, with the file names that it may have.
        source: says how to get the archive, for the error message.

    Raises:
        DataError: the archive is in none of these folders; the message says how to fetch it.
    """
    found = archive_at_hand(job, archive.names)
    if found is not None:
        return found
    others = [path.name for folder in _places(job) for path in _archives(folder)]
    instead = f" ({', '.join(others[:3])}{', …' * (len(others) > 3)} there)" if others else ""
    raise source.missing(
        f"no archive of {archive.what} in {' or '.join(map(str, _places(job)))}{instead}; expected {archive.names[0]}, "
        "which cannot be downloaded by a program"
    )


def archive_at_hand(job: Job, names: Sequence[str]) -> Path | None:
    """Return the archive file with one of `names`, or the only one whose name starts with one of them; else None.

    Browsers and Google Drive append numbers and dates ("archive (1).zip"), and users repack archives.
    """
    stems = tuple(name.lower().removesuffix(".zip") for name in names)
    for folder in _places(job):
        exact = next((folder / name for name in names if (folder / name).is_file()), None)
        alike = [path for path in _archives(folder) if path.name.lower().startswith(stems)]
        if exact or len(alike) == 1:
            return exact or alike[0]
    return None


def take_file(job: Job, file: str, source: Source, root: Path | None = None) -> None:
    """Do what `bring_file` does.

    Raises:
        DataError: the file is in none of the places; the message says what to fetch from where.
    """
    if not bring_file(job, file, root):
        where = f" or {job.source}" if job.source else ""
        raise source.missing(f"no {file} in {root or job.root}{where}; expected the authors' file")


def bring_file(job: Job, file: str, root: Path | None = None) -> bool:
    """Put the authors' `file` into `root` (default: the job's), as it is in the folder of `--from`, or out of its .zip.

    Returns:
        Whether the file is in `root`.

    Raises:
        DataError: the .zip does not hold the file, or is damaged.
    """
    target = (root or job.root) / file
    if is_file(target):
        return True
    places = [job.source / file, job.source / target.name] if job.source else []
    found = next((path for path in places if is_file(path)), None)
    if found is not None:
        target.parent.resolve().mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            shutil.copyfile(found, temporary)
        return True
    archive = archive_at_hand(job, [f"{target.name}.zip"])
    if archive is None:
        return False
    with making_place(target) as making:
        if not unpack(archive, making, lambda name: name.name if name.name == target.name else None):
            raise DataError(f"archive {archive} has no {target.name}; expected it there; fetch it again")
        job.note(archive, None, verified=False)
        publish(making / target.name, target)
    return True


def _places(job: Job) -> list[Path]:
    return [folder for folder in (job.source, job.root / "archives", job.root) if folder]


def _archives(folder: Path) -> list[Path]:
    """Return the archives in a folder by name; none if there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.name.lower().endswith(ENDINGS) and path.is_file())
