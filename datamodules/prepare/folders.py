"""Make folders of a data set from its archives."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePosixPath

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.source import Archive, ByHand, Source
from fsbench.datamodules.prepare.by_hand import find_archive
from fsbench.datamodules.prepare.job import Job, unpublished
from fsbench.datamodules.prepare.making import discard, disk_errors, has_content, making_place, publish
from fsbench.datamodules.prepare.unpack import Place, unpack

Check = Callable[[Path, Path], None]
"""Function (folder of the unpacked files, archive) that raises DataError where files lack."""


def make_folder(
    job: Job, source: Source, archive: Archive | ByHand, target: Path, place: Place, check: Check | None = None
) -> list[str]:
    """Find or download an archive and unpack it; the folder `target` appears only once it is complete.

    Args:
        job: folders and options of the preparation.
        source: where the data set comes from, for error messages.
        archive: the archive: downloaded, or (`ByHand`) found where the user put it.
        target: the folder to make.
        place: function from a file of the archive to its path below the folder, or None to leave the file out.
        check: function (unpacked folder, archive file) that raises DataError if files are missing; None for no check.

    Returns:
        Remarks for the user.

    Raises:
        DataError: the archive is not available, is damaged, or lacks files.
    """
    file = find_archive(job, archive, source) if isinstance(archive, ByHand) else job.obtain(archive)
    with making_place(target) as making:
        unpack(file, making, place)
        if check is not None:
            check(making, file)
        if isinstance(archive, ByHand):
            job.note(file, None, verified=False)
        publish(making, target)
    has_checksum = isinstance(archive, Archive) and archive.digest is not None
    return [] if has_checksum else [unpublished(file.name)]


def photo_in(folder: str, name: PurePosixPath) -> str | None:
    """Return the file name of an archive's entry if it is a photo directly in `folder`; None for anything else."""
    return name.name if name.parent.name == folder and name.suffix == ".jpg" else None


def make_photos(job: Job, archive: Archive, target: Path, expected: str) -> None:
    """Find or download an archive, and unpack the .jpg files of its folder named like `target` into `target`.

    Raises:
        DataError: the archive is not available or has no such photos; the message says what was `expected`.
    """
    with making_place(target) as making:
        if not unpack(job.obtain(archive), making, partial(photo_in, target.name)):
            raise DataError(f"archive {archive.name} has no {target.name}/*.jpg; expected {expected}")
        publish(making, target)


def unpack_wanted_files(job: Job, name: str, source: Source) -> list[str]:
    """Find or download the archives of `source`, and unpack their needed files into the root; return remarks.

    Archives that are already unpacked are skipped. Smaller archives are fetched first, so that a wrong address shows
    early.
    """
    if job.lists is not None:
        raise SettingsError(f"{name} has no released lists; leave --lists out, and give a list file to the run")
    for archive in source.archives:
        with disk_errors(job.root):
            provide_files(job, archive, job.root)
    return [unpublished(archive.name) for archive in source.archives if archive.digest is None]


def provide_files(job: Job, archive: Archive, folder: Path) -> None:
    """Unpack the needed files of one archive to `folder`, unless they are there; what is there stays.

    Raises:
        DataError: the archive is not available, or lacks files.
    """
    parts = list(dict.fromkeys(map(_part, archive.files)))
    making = folder / f".{archive.name}.making"  # on the disk of the files, even where the folder is a link
    if not all(has_content(folder / part) for part in parts):
        file = job.obtain(archive)
        place: Place = partial(wanted_file, archive.files)
        if archive.most is not None:
            place = _first_of_folders(file, making, place, archive.most)
        unpack(file, making, place)
        for part in parts:
            if not (making / part).exists():
                raise DataError(
                    f"archive {file} has no {' and no '.join(archive.files)}; expected the publisher's; fetch it again"
                )
        for part in parts:
            if not has_content(folder / part):
                publish(making / part, folder / part)
    with suppress(OSError):  # a folder for reading only keeps what a killed process left
        discard(making)


def _part(pattern: str) -> str:
    """Return the folder or file that the files of a pattern make: its path before the first wildcard."""
    return "/".join(takewhile(lambda part: "*" not in part, PurePosixPath(pattern).parts))


def wanted_file(patterns: tuple[str, ...], name: PurePosixPath) -> str | None:
    """Return the end of `name` that matches one of the patterns; None if none does."""
    for pattern in patterns:
        if name.match(pattern) and not name.name.startswith("._"):  # what other systems' tar leaves behind
            return "/".join(name.parts[-len(PurePosixPath(pattern).parts) :])
    return None


def _first_of_folders(archive: Path, making: Path, place: Place, most: int) -> Place:
    """Return `place` restricted to the first `most` files of every folder, by name; reads the whole archive's names."""
    names: dict[str, set[str]] = {}

    def collect(name: PurePosixPath) -> None:
        folder, _, file = (place(name) or "").rpartition("/")
        names.setdefault(folder, set()).add(file)

    unpack(archive, making, collect)
    kept = {f"{folder}/{file}" for folder, files in names.items() for file in sorted(files)[:most]}
    return lambda name: inner if (inner := place(name)) in kept else None
