"""A labelling project: a folder with images, their journals and the names of the classes.

    project.json      the classes, in the order of their numbers
    images/           the images as they were given
    strokes/          a journal for each image, from which its label map follows
    removed/          images that were taken out, with their journals
    exports/          what was exported, by format

Whatever the page changes is on disk before it is answered: a killed process loses the stroke that was being drawn.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsbench.errors import DataError, SettingsError
from fsbench.files import locked, make_folder, read_json, remove_halves, replacing, write_text
from fsbench.labelling.annotation import Annotation, read_size
from fsbench.labelling.labelled_image import LabelledImage
from fsbench.predict.query_images import SUFFIXES, read_upright

FILE = "project.json"
VERSION = 1
MOST_CLASSES = 254
LONGEST_CLASS_NAME = 60
"""Characters of a class's name."""
LONGEST_STEM = 100
"""Characters of an image's name without its suffix."""
MOST_IMAGES = 5000


class Project:
    """The images and classes of a labelling project; `open_project` opens one.

    Args:
        root: The project's folder.

    Raises:
        DataError: a file of the project cannot be used.
    """

    def __init__(self, root: Path):
        self.root = root
        for folder in (self.root, self._images, self._strokes):
            make_folder(folder)
            remove_halves(folder, deep=False)
        self.classes: list[str] = self._read_classes()
        """Names of the classes; that of number n is `classes[n - 1]`."""
        self.annotations: dict[str, Annotation] = {}
        """The images by name, in the order of their names."""
        self.problems: list[str] = []
        """Lines about images that cannot be used, and about steps that are missing."""
        for path in sorted(self._images.iterdir()):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                try:
                    annotation = self.annotations[path.name] = Annotation.read(path, self._journal(path.name))
                    self.problems += annotation.problems
                except DataError as error:
                    self.problems.append(str(error))

    @property
    def _images(self) -> Path:
        return self.root / "images"

    @property
    def _strokes(self) -> Path:
        return self.root / "strokes"

    @property
    def _removed_folder(self) -> Path:
        return self.root / "removed"

    @property
    def exports(self) -> Path:
        """The folder of what was exported."""
        return self.root / "exports"

    def _journal(self, name: str) -> Path:
        return self._strokes / f"{name}.jsonl"

    def _read_classes(self) -> list[str]:
        file = self.root / FILE
        if not file.exists():
            return []
        try:
            content = read_json(file, "settings")
            if content["version"] != VERSION:
                raise ValueError(f"it is of version {content['version']}, expected {VERSION}")
            classes: list[str] = []
            for name in content["classes"]:
                classes.append(_class_name(name, classes))
            return classes
        except (OSError, ValueError, TypeError, KeyError, DataError) as error:
            raise DataError(f"{file} cannot be used ({error}); expected the file that fsbench demo writes") from error

    def _write_classes(self, classes: list[str]) -> None:
        write_text(self.root / FILE, json.dumps({"version": VERSION, "classes": classes}, indent=2) + "\n")
        self.classes = classes

    def add_class(self, name: Any) -> int:
        """Add a class; returns its number. Raises DataError for a name that cannot be one, or that there is."""
        if len(self.classes) >= MOST_CLASSES:
            raise DataError(f"there are {MOST_CLASSES} classes, expected no more")
        self._write_classes([*self.classes, _class_name(name, self.classes)])
        return len(self.classes)

    def rename_class(self, number: int, name: Any) -> None:
        """Give a class another name. Raises DataError as `add_class`, or where there is no class of that number."""
        self.check_number(number)
        others = [other for place, other in enumerate(self.classes, 1) if place != number]
        renamed = list(self.classes)
        renamed[number - 1] = _class_name(name, others)
        self._write_classes(renamed)

    def check_number(self, number: int) -> None:
        """Raise DataError unless `number` is that of a class."""
        if not 1 <= number <= len(self.classes):
            raise DataError(f"there is no class {number}; expected 1 to {len(self.classes)}; add the class first")

    def annotation(self, name: str) -> Annotation:
        """Return the image `name`. Raises DataError where there is none."""
        try:
            return self.annotations[name]
        except KeyError:
            raise DataError(f"there is no image {name!a} in this project; reload the page") from None

    def add_image(self, name: str, content: bytes) -> Annotation:
        """Take an image into the project, under a name that is free.

        Args:
            name: The file's name, of which folders and odd characters are left out.
            content: The file.

        Raises:
            DataError: the content is no image that can be read, or there are too many images.
        """
        if len(self.annotations) >= MOST_IMAGES:
            raise DataError(f"there are {MOST_IMAGES} images, expected no more; start another project")
        path = self._images / self._free_name(name)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
            try:
                read_size(temporary)
                read_upright(temporary)
            except DataError as error:
                raise DataError(str(error).replace(str(temporary), path.name)) from None
        try:
            annotation = Annotation.read(path, self._journal(path.name))
        except DataError:
            path.unlink()
            raise
        self.annotations = dict(sorted({**self.annotations, path.name: annotation}.items()))
        return annotation

    def remove_image(self, name: str) -> None:
        """Take an image out; its journal and its file go to `removed/`."""
        annotation = self.annotation(name)
        annotation.journal.close()
        removed = make_folder(self._removed_folder)
        for path in (annotation.journal.path, annotation.path):  # an image without a journal can be opened
            target = next(
                removed / f"{count}{path.name}" for count in ("", *(f"{n}-" for n in range(2, 10**6)))
                if not (removed / f"{count}{path.name}").exists()
            )  # fmt: skip
            path.replace(target)
        del self.annotations[name]

    def labelled_images(self) -> list[LabelledImage]:
        """Return the labelled images, the last one first."""
        images = [image for annotation in self.annotations.values() if (image := annotation.labelled_image())]
        return sorted(images, key=lambda image: -image.time)

    def _free_name(self, name: str) -> str:
        """Return the name for a new image: one whose stem no image has or had, so that label files never collide and
        nothing kept of a removed image is taken for the new one's."""
        file_name = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
        stem, _, suffix = file_name.rpartition(".")
        suffix = f".{suffix.lower()}"
        if suffix not in SUFFIXES:
            raise DataError(f"{file_name!a} is no image by its name; expected one that ends with {', '.join(SUFFIXES)}")
        stem = re.sub(r"[^\w-]+", "_", stem).strip("_")[:LONGEST_STEM] or "image"
        while len(stem.encode()) > 2 * LONGEST_STEM:  # file systems count bytes
            stem = stem[:-1]
        folders = [folder for folder in (self._images, self._strokes, self._removed_folder) if folder.is_dir()]
        files = (path.name.removesuffix(".jsonl") for folder in folders for path in folder.iterdir())
        taken = {Path(other).stem.casefold() for other in files}
        number, free = 1, stem
        while free.casefold() in taken:
            number += 1
            free = f"{stem}-{number}"
        return f"{free}{suffix}"

    def close(self) -> None:
        """Close the journals."""
        for annotation in self.annotations.values():
            annotation.journal.close()


def _class_name(name: Any, others: list[str]) -> str:
    """Return the name of a class in its clean form. Raises DataError for one that is no name or that others have."""
    text = unicodedata.normalize("NFC", " ".join(name.split())) if isinstance(name, str) else ""
    if not text or len(text) > LONGEST_CLASS_NAME or not text.isprintable():
        raise DataError(f"the name of a class is {name!a}, expected 1 to {LONGEST_CLASS_NAME} printable characters")
    if text.casefold() in {other.casefold() for other in others}:
        raise DataError(f"there is a class {text!r} already; choose another name")
    return text


@contextmanager
def open_project(root: Path) -> Iterator[Project]:
    """Open a project, new or resumed; one process at a time works on it.

    Raises:
        SettingsError: another process has it open, or the folder cannot be written to.
        DataError: a file of the project cannot be used.
    """
    make_folder(root)
    if any(root.iterdir()) and not (root / FILE).exists() and not (root / "images").is_dir() \
            and not (root / ".lock").exists():  # fmt: skip
        raise SettingsError(f"{root} holds other files; expected a new folder, or one that fsbench demo made")
    try:
        with locked(root / ".lock", "choose another folder with --project"):
            project = Project(root)
            try:
                yield project
            finally:
                project.close()
    except BlockingIOError:
        raise SettingsError(
            f"another process has {root} open; end it, or choose another folder with --project"
        ) from None
