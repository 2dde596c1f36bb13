"""Anybody's images for classification: a folder for each class, or a table."""

from collections.abc import Sequence
from pathlib import Path

from fsbench.base.errors import DataError
from fsbench.base.files.names import two_alike
from fsbench.data.labelled.classes import first
from fsbench.data.labelled.photos import SUFFIXES, UNREAD
from fsbench.data.labelled.table import read_table
from fsbench.data.source import Source
from fsbench.datamodules.kinds.class_folders import class_folders, require_images
from fsbench.datamodules.kinds.labelled_images import LabelledImages


class ImageFolder(LabelledImages):
    """A user's photos for classification: one folder per class, sorted by name, or a CSV or Parquet table.

    Args:
        root: folder of the class folders; or a table with the columns photo and classes, and perhaps group.
        lists: path of a file that lists classes and images, used instead of all photos in the folders; or a list with
            one such path.
        classes: names of the only classes to take; None takes all.
        max_images: number of images taken of each class, the first by name; None takes all.
    """

    name = "imagefolder"
    turns_images = True
    source = Source(
        kind="own",
        holds=(f"<class>/<image>, as {', '.join(SUFFIXES)}",),
        notes=("or give a table .csv with a line for each image, in the columns photo and classes",),
    )

    def __init__(
        self,
        root: str,
        lists: str | list[str] | None = None,
        classes: list[str] | None = None,
        max_images: int | None = None,
    ):
        self.file = Path(root).expanduser()
        self.classes = classes
        self.max_images = max_images
        self._groups: dict[str, str] = {}
        self.notes: list[str] = []
        super().__init__(str(self.file.parent) if self.file.is_file() else root, lists)

    def group_of(self, name: str) -> str:
        return self._groups.get(name, name)

    def derive(self) -> list[tuple[str, Sequence[str]]]:
        folders = self._rows_by_class() if self.file.is_file() else self._photos_by_folder()
        if alike := two_alike(folders):
            raise DataError(
                f"{self.folder} has the class folders {alike[0]} and {alike[1]}, whose names differ by case, spaces or "
                "accents' form alone; expected one folder for a class; put their images together or rename one"
            )
        if self.classes is not None:
            if absent := [name for name in self.classes if name not in folders]:
                raise DataError(f"{self.folder} has no class folder {absent[0]}, which classes asks for; correct it")
            folders = {name: folders[name] for name in sorted(set(self.classes))}
        require_images(folders, self.folder, SUFFIXES)
        return [(name, images[: self.max_images]) for name, images in folders.items()]

    def _photos_by_folder(self) -> dict[str, tuple[str, ...]]:
        """Return {folder: paths of its photos}; a PNG beside a photo of its name is its mask, as in `folder`."""
        found: dict[str, tuple[str, ...]] = {}
        masks: list[str] = []
        unread: list[str] = []
        for folder, every in class_folders(self.folder, (*SUFFIXES, *UNREAD)).items():
            files = [file for file in every if file.lower().endswith(SUFFIXES)]
            unread += [f"{folder}/{file}" for file in every if not file.lower().endswith(SUFFIXES)]
            photos = {Path(file).stem for file in files if not file.lower().endswith(".png")}
            own = {file for file in files if file.lower().endswith(".png") and Path(file).stem in photos}
            masks += [f"{folder}/{file}" for file in own]
            found[folder] = tuple(f"{folder}/{file}" for file in files if file not in own)
        if masks:
            self.notes.append(
                f"{len(masks)} masks are left out, as photos beside them have their names: {first(masks)}"
            )
        if unread:
            self.notes.append(
                f"{len(unread)} files of forms that are not read are left out: {first(unread)}; save them as PNG"
            )
        return found

    def _rows_by_class(self) -> dict[str, tuple[str, ...]]:
        """Return {class: paths of its images, relative to the table} and remember the images' groups."""
        found: dict[str, tuple[str, ...]] = {}
        for row in read_table(self.file).images:
            shown = [name for name, is_shown in row.classes.items() if is_shown]
            if len(shown) != 1 or isinstance(row.photo, bytes):
                raise DataError(f"{self.file} gives {row.name} {len(shown)} classes; expected one class for an image")
            photo = row.photo.relative_to(self.root) if row.photo.is_relative_to(self.root) else row.photo
            name = photo.as_posix()
            found[shown[0]] = (*found.get(shown[0], ()), name)
            self._groups |= {name: row.group} if row.group else {}
        return dict(sorted(found.items()))
