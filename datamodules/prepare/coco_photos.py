"""Prepare LVIS-92i, PACO-Part, PASCAL-Part and iSAID-5i: the publishers' photos beside the files of the authors.

The authors' annotation files and patches cannot be fetched by a program; they are taken from `--from DIR`, or from
where they belong.
"""

import shutil
from collections.abc import Set
from functools import partial
from pathlib import Path, PurePosixPath

from datamodules.datasets.in_context import lvis, paco_part, pascal_part
from datamodules.datasets.isaid import Isaid
from datamodules.instructions import GUIDES, missing
from datamodules.prepare.job import Archive, Job
from datamodules.prepare.list_files import provide_lists
from datamodules.prepare.making import has_content, making_place, publish, publish_into, remove_leftover
from datamodules.prepare.unpack import unpack
from fsbench.download import Digest
from fsbench.errors import DataError
from fsbench.files import is_file, replacing, write_text

_BASE = "http://images.cocodataset.org/zips"
PHOTOS = {
    "val2017": Archive("val2017.zip", f"{_BASE}/val2017.zip", Digest("md5", "442b8da7639aecaf257c1dceb8ba8c80")),
    "train2017": Archive("train2017.zip", f"{_BASE}/train2017.zip", Digest("md5", "cced6f7f71b7629ddf16f17bbcfab6b2")),
}
"""COCO's photos of 2017 by folder; the validation files of LVIS and PACO name photos of both."""
VOC_2010 = Archive(
    "VOCtrainval_03-May-2010.tar", "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar", None
)
FILES = {"lvis": (lvis.FILE,), "paco_part": tuple(paco_part.FILES.values())}
"""Annotation files of the authors below the root."""
INDEXES = {"lvis": lvis.Lvis, "paco_part": paco_part.PacoPart}
SELECTION = ".{}-is-a-selection"
"""File beside a folder of photos that holds the listed ones alone."""


def prepare_coco_views(name: str, job: Job) -> list[str]:
    """Make `<root>/coco/{val,train}2017` beside the annotation files of `name`; returns remarks for the user.

    With `job.validation_only` the folders get the photos that tests draw from, and no others.

    Raises:
        DataError: an annotation file is neither in the root nor in `--from`, or an archive is not to be had or lacks
            photos.
    """
    for file in FILES[name]:
        _take(job, file, name)
    (job.root / "coco").resolve().mkdir(parents=True, exist_ok=True)  # it may be a link that leads nowhere yet
    remarks = [f"{file}: no checksum is published" for file in FILES[name]]
    if job.validation_only:
        return remarks + _provide_listed_photos(job, name)
    for folder in PHOTOS:
        _provide_all_photos(job, folder)
    return remarks


def _provide_all_photos(job: Job, folder: str) -> None:
    """Make the folder `folder` of photos, or complete one that holds a selection."""
    target = job.root / "coco" / folder
    selection = _selection_note(target)
    if has_content(target) and not selection.exists():
        return remove_leftover(target)
    with making_place(target) as making:
        if not unpack(job.obtain(PHOTOS[folder]), making, partial(_photo, folder)):
            raise DataError(f"archive {PHOTOS[folder].name} has no {folder}/*.jpg; expected COCO's photos of 2017")
        if has_content(target):
            publish_into(making, target)
        else:
            publish(making, target)
        selection.unlink(missing_ok=True)


def _selection_note(target: Path) -> Path:
    """Return the file beside a folder of photos that is there as long as the folder holds listed ones alone."""
    goal = target.resolve()
    return goal.with_name(SELECTION.format(goal.name))


def _provide_listed_photos(job: Job, name: str) -> list[str]:
    """Unpack the photos that tests of `name` draw from and that are not there; returns remarks for the user."""
    listed: dict[str, set[str]] = {}
    for photo in INDEXES[name](str(job.root)).listed_photos():
        folder, _, file = photo.rpartition("/")
        listed.setdefault(folder, set()).add(file)
    foreign = sorted(listed.keys() - PHOTOS.keys())
    if foreign:
        raise missing(
            f"{FILES[name][-1]} names photos of the folder {foreign[0]!r}; expected {' and '.join(PHOTOS)}",
            GUIDES[name],
        )
    for folder, files in sorted(listed.items()):
        target = job.root / "coco" / folder
        absent = {file for file in files if not is_file(target / file)}
        if not absent:
            remove_leftover(target)
            continue
        with making_place(target) as making:
            archive = job.obtain(PHOTOS[folder])
            if unpack(archive, making, partial(_listed_photo, folder, absent)) < len(absent):
                lacking = sorted(file for file in absent if not is_file(making / file))
                raise DataError(
                    f"archive {archive} lacks {len(lacking)} photos that {FILES[name][-1]} names, {folder}/{lacking[0]}"
                    " the first; expected COCO's photos of 2017; use the publisher's archive"
                )
            if not any(target.glob("*.jpg")):
                write_text(_selection_note(target), f"the photos that {FILES[name][-1]} names\n")
            publish_into(making, target, absent)
    return [f"coco/{folder}: {len(files)} photos are named" for folder, files in sorted(listed.items())]


def prepare_pascal_part(job: Job) -> list[str]:
    """Make `JPEGImages` of VOC 2010 beside PASCAL-Part's annotations; returns remarks for the user.

    Raises:
        DataError: the annotations are not there, or the archive is not to be had.
    """
    root = job.root / "VOC2010" if (job.root / "VOC2010").is_dir() else job.root
    _take(job, pascal_part.LIST, "pascal_part", root)
    if not has_content(root / pascal_part.ANNOTATIONS):
        raise missing(
            f"{root} has no {pascal_part.ANNOTATIONS}; expected the authors' folder of annotations",
            GUIDES["pascal_part"],
        )
    if not has_content(root / pascal_part.PHOTOS):
        with making_place(root / pascal_part.PHOTOS) as making:
            if not unpack(job.obtain(VOC_2010), making, partial(_photo, pascal_part.PHOTOS)):
                raise DataError(f"archive {VOC_2010.name} has no JPEGImages/*.jpg; expected VOC's photos of 2010")
            publish(making, root / pascal_part.PHOTOS)
    return [f"{pascal_part.LIST}, {VOC_2010.name}: no checksum is published"]


def prepare_isaid(job: Job) -> list[str]:
    """Provide the authors' lists beside iSAID's patches; returns remarks for the user.

    Raises:
        DataError: the patches are not there, or the lists are not to be had.
    """
    remarks = provide_lists(job, "isaid")
    Isaid(str(job.root), lists=[])
    return remarks


def _take(job: Job, file: str, name: str, root: Path | None = None) -> None:
    """Copy the authors' `file` of data set `name` from `--from` unless it is in its place."""
    target = (root or job.root) / file
    if is_file(target):
        return
    places = [job.source / file, job.source / target.name] if job.source else []
    found = next((path for path in places if is_file(path)), None)
    if found is None:
        where = f" or {job.source}" if job.source else ""
        raise missing(
            f"no {file} in {target.parents[file.count('/')]}{where}; expected the authors' file", GUIDES[name]
        )
    target.parent.resolve().mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        shutil.copyfile(found, temporary)


def _photo(folder: str, name: PurePosixPath) -> str | None:
    """Return the file name of a photo directly in `folder`; None for anything else."""
    return name.name if name.parent.name == folder and name.suffix == ".jpg" else None


def _listed_photo(folder: str, files: Set[str], name: PurePosixPath) -> str | None:
    """Return the file name of a photo directly in `folder` that is one of `files`; None for anything else."""
    return name.name if name.name in files and name.parent.name == folder else None
