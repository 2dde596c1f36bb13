"""Prepare data sets for classification: unpack from every archive the files that the lists need."""

from functools import partial
from pathlib import Path, PurePosixPath

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.source import Archive, dataset_package, read_source
from fsbench.datamodules.indexes.labelled_images import LabelledImages
from fsbench.datamodules.prepare.job import Job, unpublished
from fsbench.datamodules.prepare.making import discard, disk_errors, has_content, publish
from fsbench.datamodules.prepare.unpack import Place, unpack


def prepare_images(kind: type[LabelledImages], job: Job) -> list[str]:
    """Put the wanted files of the archives of data set `kind` into the root; archives already unpacked are left out.

    They are fetched in the order of `source.yaml`: the smaller ones first, so that a wrong address shows early.

    Returns remarks for the user.
    """
    if job.lists is not None:
        raise SettingsError(f"{kind.name} has no released lists; leave --lists out, and give a list file to the run")
    folder = kind.present(job.root)
    if folder and all(has_content(folder / part) for part in kind.parts):
        return []
    archives = read_source(dataset_package(kind)).archives.values()
    for archive in archives:
        with disk_errors(job.root):
            _provide(job, archive)
    return [unpublished(archive.name) for archive in archives if archive.digest is None]


def _provide(job: Job, archive: Archive) -> None:
    """Unpack the files of one archive to the root, unless its files are present."""
    parts = [PurePosixPath(pattern).parts[0] for pattern in archive.files]
    if all(has_content(job.root / part) for part in parts):
        return
    file = job.obtain(archive)
    making = job.root / f".{archive.name}.making"
    place: Place = partial(_place, archive.files)
    if archive.most is not None:
        place = _first_of_folders(file, making, place, archive.most)
    unpack(file, making, place)
    for part in parts:
        if not (making / part).exists():
            raise DataError(
                f"archive {file} has no {' and no '.join(archive.files)}; expected the publisher's; fetch it again"
            )
    for part in parts:
        publish(making / part, job.root / part)
    discard(making)


def _place(wanted: tuple[str, ...], name: PurePosixPath) -> str | None:
    """Return the end of `name` that matches one of the `wanted` patterns; None where none does."""
    for pattern in wanted:
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
