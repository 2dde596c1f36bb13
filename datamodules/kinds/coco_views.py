"""Data sets of objects on COCO's photos of 2017, whose annotation files name photos of both its parts."""

from collections.abc import Set
from functools import partial
from pathlib import Path, PurePosixPath

from fsbench.base.errors import DataError
from fsbench.base.files import is_file, write_text
from fsbench.data.source import Archive
from fsbench.datamodules.kinds.views import ViewData, view_photo
from fsbench.datamodules.prepare.folders import make_photos
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.making import has_content, making_place, publish_into, remove_leftover
from fsbench.datamodules.prepare.unpack import unpack

FOLDERS = ("val2017", "train2017")
"""Folders of COCO's photos of 2017; annotation files of others name photos of both."""
SELECTION = ".{}-is-a-selection"
"""File beside a folder of photos that holds the listed ones alone."""
PHOTOS_2017 = tuple(
    Archive(f"http://images.cocodataset.org/zips/{folder}.zip", md5, page="https://cocodataset.org/#download")
    for folder, md5 in zip(
        FOLDERS, ("442b8da7639aecaf257c1dceb8ba8c80", "cced6f7f71b7629ddf16f17bbcfab6b2"), strict=True
    )
)
"""Archives of these folders."""


class CocoViews(ViewData):
    """Data set whose images are crops or classes of COCO's photos of 2017; `source` names their archives."""

    def image_path(self, name: str) -> Path:
        return self.root / "coco" / view_photo(name)

    @classmethod
    def provide_photos(cls, job: Job, file: str) -> list[str]:
        """Unpack COCO's photos to `<root>/coco/{val,train}2017`, and return remarks; `file` names them, for messages.

        With `validation_only` only the photos that tests draw from are unpacked.
        """
        (job.root / "coco").resolve().mkdir(parents=True, exist_ok=True)  # it may be a link that leads nowhere yet
        if job.validation_only:
            return _provide_listed_photos(job, cls(str(job.root)), file)
        for folder in FOLDERS:
            _provide_all_photos(job, folder, cls.source.archive(f"{folder}.zip"))
        return []


def _provide_all_photos(job: Job, folder: str, archive: Archive) -> None:
    target = job.root / "coco" / folder
    selection = _selection_note(target)
    if has_content(target) and not selection.exists():
        return remove_leftover(target)
    make_photos(job, archive, target, "COCO's photos of 2017")
    selection.unlink(missing_ok=True)


def _selection_note(target: Path) -> Path:
    goal = target.resolve()
    return goal.with_name(SELECTION.format(goal.name))


def _provide_listed_photos(job: Job, data: CocoViews, file: str) -> list[str]:
    listed: dict[str, set[str]] = {}
    for photo in data.listed_photos():
        folder, _, name = photo.rpartition("/")
        listed.setdefault(folder, set()).add(name)
    foreign = sorted(listed.keys() - set(FOLDERS))
    if foreign:
        raise data.source.missing(f"{file} names photos of the folder {foreign[0]!r}; expected {' and '.join(FOLDERS)}")
    for folder, files in sorted(listed.items()):
        target = job.root / "coco" / folder
        absent = {name for name in files if not is_file(target / name)}
        if not absent:
            remove_leftover(target)
            continue
        with making_place(target) as making:
            archive = job.obtain(data.source.archive(f"{folder}.zip"))
            if unpack(archive, making, partial(_listed_photo, folder, absent)) < len(absent):
                raise DataError(
                    f"archive {archive} lacks photos that {file} names; expected COCO's photos of 2017; use the "
                    "publisher's archive"
                )
            if not any(target.glob("*.jpg")):
                write_text(_selection_note(target), f"the photos that {file} names\n")
            publish_into(making, target, absent)
    return [f"coco/{folder}: {len(files)} photos are named" for folder, files in sorted(listed.items())]


def _listed_photo(folder: str, files: Set[str], name: PurePosixPath) -> str | None:
    return name.name if name.name in files and name.parent.name == folder else None
