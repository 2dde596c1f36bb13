"""What is to be known of a published data set whose files only map to images: one value, a declaration."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.data.image_io import read_label_file, read_label_map, read_shades
from fsbench.data.source import Source
from fsbench.datamodules.kinds.class_folders import IMAGE_SUFFIXES
from fsbench.datamodules.kinds.find_folder import is_of_any_folder
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.making import has_content

FIELD = r"\\?\{(\w+)\\?\}"
"""Form of a field in a pattern, escaped or not."""

Texts = Mapping[str, str] | re.Match[str]
"""Texts that the fields of a pattern stand for in an image's listed file; "path" is that file's whole path."""

FIELDS = {
    "stem": r"[^/.]+",
    "more": r"(?:\.[^/]*)?",  # the field's programs compare no more than what is between the first two dots
    "row": r"0|[1-9][0-9]*",
    "suffix": rf"(?:[^/]*\.)?(?i:{'|'.join(suffix[1:] for suffix in IMAGE_SUFFIXES)})",
}
"""Field -> the texts that it stands for; other fields stand for any text that does not start with a dot."""


def grey(path: Path, from_1: bool = False) -> np.ndarray:
    """Return a mask as PIL's grey values (H, W) uint8, from what `read_shades` reads."""
    return np.asarray(Image.fromarray(read_shades(path, from_1=from_1)).convert("L"))


def _crops_and_weeds(path: Path) -> np.ndarray:
    stored = read_label_file(path).stored
    if stored.ndim != 2:
        raise DataError(f"label map {path} has colours; expected one number of 16 bits a pixel")
    return np.select([stored == 10000, stored == 2], [1, 2])


MASKS: Mapping[str, Callable[[Path], np.ndarray]] = {
    "grey from 128": lambda path: grey(path) >= 128,
    "any colour": lambda path: grey(path, from_1=True) > 0,
    "red above 245": lambda path: read_shades(path)[..., 0] > 245,
    "number 1": read_label_map,
    "crop 10000, weed 2": _crops_and_weeds,
}
"""Rule -> function that reads a mask's file: (H, W), 1 or True where it shows the class."""


@dataclass(frozen=True)
class Declaration:
    """A published data set: its classes, where it comes from, and how its files map to images.

    A pattern is a path below the data set's folder such as `{part}/images/{row}.png`. What the fields of `listed` stand
    for is put into the other patterns. A pattern that ends in `*` stands for all files of a folder.

    Attributes:
        name: the data set's name.
        class_names: names of the classes.
        source: its page, archives and terms; the name and the patterns are added to it.
        inner: paths below the user's folder where the data set's may be; `fsbench data prepare` makes the first.
        marks: patterns of files and folders inside, by which the folder is recognised.
        listed: pattern of the files that are listed, one for each image.
        image: pattern of the images' names.
        photo: pattern of the photos.
        labels: pattern of the masks.
        mask: rule of `MASKS` by which the masks are read.
        kinds: what `{kind}` stands for, a folder for each class; () for the classes' names.
        parts: what `{part}` stands for, folders of training and of test; () where a fifth of the images is the test.
        counts: {"training", "test", a class's name, or "all": number of listed images of the complete data}.
        packed: patterns of the files to take out of the archive; () for all that is below `marks`.
        make: what makes the folder from the archives, where they are not just unpacked; returns remarks for the user.
        same_classes_as: other data sets with the same classes.
    """

    name: str
    class_names: tuple[str, ...]
    source: Source
    inner: tuple[str, ...]
    marks: tuple[str, ...]
    listed: str = ""
    image: str = "{path}"
    photo: str = "{path}"
    labels: str = "{path}"
    mask: str = "grey from 128"
    kinds: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    packed: tuple[str, ...] = ()
    make: Callable[[Job, "Declaration"], list[str]] | None = None
    same_classes_as: tuple[str, ...] = ()

    def find_images(self, root: Path) -> dict[str, Texts]:
        """Return {image name: texts of its listed file} for the files in `root`, ascending by row and name."""
        paths = sorted(path.relative_to(root).as_posix() for path in root.glob(re.sub(FIELD, "*", self.listed)))
        images: dict[str, Texts] = {}
        for match in filter(None, map(self._form().fullmatch, paths)):
            other = images.setdefault(self.image.format_map(match), match)
            if other is not match:
                raise DataError(f"{root / match['path']} and {other['path']} have one name; expected two; remove one")
        if self.image == "{path}":
            return images
        by_row = "{row}" in self.listed
        return dict(sorted(images.items(), key=lambda one: int(one[1]["row"]) if by_row else one[0]))

    def _form(self) -> re.Pattern[str]:

        def group(field: re.Match[str]) -> str:
            known = "|".join(self._choices.get(field[1], ()))
            return f"(?P<{field[1]}>{known or FIELDS.get(field[1], '[^/.][^/]*')})"

        return re.compile(f"(?P<path>{re.sub(FIELD, group, re.escape(self.listed))})")

    @property
    def _choices(self) -> dict[str, tuple[str, ...]]:
        return {"kind": self.kinds, "part": self.parts}

    @property
    def holds(self) -> tuple[str, ...]:
        """Photos and masks in the user's folder, for people: `Kvasir-SEG/images/<id>.jpg`."""

        def shown(field: re.Match[str]) -> str:
            return f"<{', '.join(self._choices.get(field[1]) or (field[1],))}>"

        listed = self.listed.replace("{more}", "")
        patterns = (pattern.replace("{path}", listed) for pattern in (self.photo, self.labels))
        return tuple(f"{self.inner[0]}/" + re.sub(FIELD, shown, pattern) for pattern in dict.fromkeys(patterns))

    def place(self, name: PurePosixPath) -> str | None:
        """Return the path below the data set's folder of a file of the archive; None if it is hidden or not needed."""
        if "__MACOSX" in name.parts or name.name.startswith("."):
            return None
        wanted = self.packed or [f"{mark}/*" for mark in self.marks]
        ends = ("/".join(name.parts[place:]) for place in reversed(range(len(name.parts))))
        return next((end for end in ends if any(fnmatchcase(end, one) for one in wanted)), None)

    def is_prepared(self, root: Path) -> bool:
        """Return whether `root`, or a folder of `inner` below it, has all `marks`, none of them empty.

        Of folders for each class one alone need have content; marks in folders of any name are not looked for in
        `root`, which may hold other data sets.
        """
        enough = any if self.kinds else all
        below = [root / inner for inner in self.inner]
        for folder in below if any(map(is_of_any_folder, self.marks)) else [root, *below]:
            found = [list(folder.glob(mark)) for mark in self.marks]
            if all(found) and enough(any(map(has_content, paths)) for paths in found):
                return True
        return False


def files(root: Path, pattern: str, texts: Texts) -> list[Path]:
    """Return the files that a pattern stands for; those of a folder by name."""
    path = pattern.format_map(texts)
    if not path.endswith("/*"):
        return [root / path]
    folder = root / path[:-2]
    names = visible_names(folder)
    if not names:
        raise DataError(f"{folder} has no files; expected some; fetch the data set again")
    return [folder / name for name in names]


def visible_names(folder: Path) -> list[str]:
    """Return the names in a folder that do not start with a dot, ascending; none if it is no folder."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.name[0] != ".") if folder.is_dir() else []
