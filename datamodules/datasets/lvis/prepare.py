"""Prepare LVIS-92i: COCO's photos of 2017 beside the authors' annotation file, LVIS's own, or both."""

from pathlib import Path, PurePosixPath

from fsbench.base.errors import DataError
from fsbench.base.files import is_file
from fsbench.data.source import missing
from fsbench.datamodules.datasets.lvis.index import FILE, OWN_FILE, Lvis
from fsbench.datamodules.prepare.authors_files import take_file
from fsbench.datamodules.prepare.by_hand import archive_at_hand
from fsbench.datamodules.prepare.coco_photos import provide_photos
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.making import making_place, publish
from fsbench.datamodules.prepare.unpack import unpack


def prepare(job: Job) -> list[str]:
    """Put the annotation files and the photos into the root; returns remarks for the user.

    Raises:
        DataError: neither annotation file is to be had, or photos are not.
    """
    has_own = _take_own_file(job)
    has_list = any(is_file(folder / FILE) for folder in _folders(job))
    if not has_list and not has_own:
        where = " or ".join(str(folder) for folder in _folders(job))
        raise missing(
            f"no {FILE} in {where}; expected the authors' file, or for PROTOCOL=presence alone LVIS's own {OWN_FILE} "
            "or its .zip",
            __package__,
        )
    if has_list:
        take_file(job, FILE, __package__)
    remarks = [f"{file}: no checksum is published" for file in (FILE, OWN_FILE) if is_file(job.root / file)]
    if not has_own:
        remarks.append(f"{OWN_FILE} is not there: PROTOCOL=presence needs it, in {job.root} or in the folder of --from")
    if not has_list:
        remarks.append(f"{FILE} is not there: all tests but PROTOCOL=presence need it")
    return [*remarks, *provide_photos(job, Lvis, FILE if has_list else OWN_FILE)]


def _folders(job: Job) -> list[Path]:
    return [job.root] if job.source is None else [job.root, job.source]


def _take_own_file(job: Job) -> bool:
    """Put LVIS's own file into the root, as it is or from its archive; returns whether it is there."""
    target = job.root / OWN_FILE
    if is_file(target):
        return True
    if any(is_file(folder / OWN_FILE) for folder in _folders(job)):
        take_file(job, OWN_FILE, __package__)
        return True
    archive = archive_at_hand(job, [f"{OWN_FILE}.zip"])
    if archive is None:
        return False
    with making_place(target) as making:
        if not unpack(archive, making, _own_file):
            raise DataError(f"archive {archive} has no {OWN_FILE}; expected LVIS's annotations of its validation part")
        job.note(archive, None, verified=False)
        publish(making / OWN_FILE, target)
    return True


def _own_file(name: PurePosixPath) -> str | None:
    """Return the name of LVIS's own file; None for anything else."""
    return name.name if name.name == OWN_FILE else None
