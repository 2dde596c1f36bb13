"""Defects of twenty kinds of products (fixed-supports.md §2)."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Self

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import read_json
from fsbench.data.dataset import Pair, Part
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.kinds.two_lists import Run, TwoLists, grey, random_fifth
from fsbench.datamodules.prepare.by_hand import take_file
from fsbench.datamodules.prepare.job import Job

FOLDS, CLASSES = 4, 20
LIST = "data.json"
"""File with the names of the classes, and the images of each."""


class Industrial(TwoLists):
    """Pictures of defective products, twenty classes in four folds; a fifth of all images is the test.

    Args:
        root: Folder with `data.json` and the images and masks that it names,
            `data/<class>/<…>/<n>.png` and `<n>.bmp`; or a folder that holds this one as `Industrial`.
        run: Run of DistillFSS's program whose order the training images have, which decides which of them are supports.
            The "first" run draws the images of the test and has the others as drawn; "later" runs have them in the
            order of `data.json`.
    """

    name = "industrial"
    folds = FOLDS
    classes_of_fold = CLASSES // FOLDS
    inner = ("Industrial",)
    marks = (LIST, "data")
    archive: ClassVar[ByHand] = ByHand("the industrial defects", ("data.zip",))
    source = Source(
        instructions="""\
The industrial defects are two files (data.zip and data.json) of the Science Data Bank, https://www.scidb.cn, named in
the README of https://github.com/pasqualedem/DistillFSS; the licence stands on their page there: put both into DIR, and
run
  fsbench data prepare industrial --root <root> --from DIR
Nobody publishes a checksum. <root> then holds
  Industrial/data.json   Industrial/data/<class>/<…>/<n>.png   Industrial/data/<class>/<…>/<n>.bmp
"""
    )

    def __init__(self, root: str, run: Run = "later"):
        super().__init__(root)
        self.run = run
        self._fold: int | None = None
        content = read_json(self.root / LIST, "list")
        self.class_names, self._listed = _read(content, self.root / LIST)

    def test_classes(self, fold: int) -> list[int]:
        """Return every fourth class, from number `fold` + 1 on."""
        self.check_fold(fold)
        return list(range(fold + 1, len(self.class_names) + 1, FOLDS))

    def in_fold(self, fold: int, shot: int) -> Self:
        """Return the data set with the images of the fold's classes alone."""
        self.check_fold(fold)
        own = type(self)(str(self.root), self.run)
        own._fold = fold
        return own

    @cached_property
    def _class_of(self) -> Mapping[str, int]:
        """{image name: number of its class}, in the order of the list."""
        numbers = {name: number for number, name in enumerate(self.class_names, 1)}
        return {_name(one, path): numbers[one] for one, paths in self._listed.items() for path in paths}

    @cached_property
    def _files(self) -> Mapping[str, Path]:
        return {_name(one, path): self.root / path for one, paths in self._listed.items() for path in paths}

    def list_images(self) -> tuple[Sequence[str], Sequence[str]]:
        """Return both lists of all classes, or of a fold's classes after `in_fold`."""
        classes = range(1, len(self.class_names) + 1) if self._fold is None else self.test_classes(self._fold)
        training, test = (
            [name for name in names if self._class_of[name] in classes]
            for names in random_fifth(list(self._class_of)).lists(self.run)
        )
        return training, test

    def listed_pairs(self, part: Part) -> Iterable[Pair]:
        """Yield every image with the class of its folder; no mask is read."""
        for name in self.candidates(part):
            yield name, self._class_of[name]

    def image_path(self, name: str) -> Path:
        return self._files[name]

    def label_file(self, name: str) -> Path:
        return self._files[name].with_suffix(".bmp")

    def label_map(self, name: str) -> np.ndarray:
        """Return the label map (H, W) uint8: the class of the image where the mask is not black."""
        return ((grey(self.label_file(name)) > 0) * self._class_of[name]).astype(np.uint8)

    @classmethod
    def place(cls, name: PurePosixPath) -> str | None:
        """Return `data/<…>` of a file of the archive; None for the rest."""
        if "__MACOSX" in name.parts or name.name.startswith("."):
            return None
        parts = name.parts[name.parts.index("data") :] if "data" in name.parts else ("data", *name.parts)
        return "/".join(parts) if name.suffix in (".png", ".bmp") else None

    @classmethod
    def add_files(cls, job: Job, making: Path) -> None:
        """Put the user's list of images beside them.

        Raises:
            DataError: the list is not in the folder of `--from`.
        """
        take_file(job, LIST, cls.source, making)


def _name(kind: str, path: str) -> str:
    """Return the name of an image in the authors' program: `<class>_<n>`."""
    return f"{kind}_{PurePosixPath(path).stem}"


def _read(content: Any, path: Path) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """Return the names of the classes, and {class: paths of its images}, in the order of the file.

    Raises:
        DataError: the file has another form, a path leads out of its folder, or two images have one name.
    """
    names, listed = (content.get(key) for key in ("clsName", "clsDic")) if isinstance(content, dict) else (None, None)
    expected = "clsName, a list of classes, and clsDic with {class: {bad: [paths]}}; fetch it again"
    if not isinstance(names, list) or not isinstance(listed, dict) or {*map(str, names)} != listed.keys():
        raise DataError(f"{path} has no lists of the same classes; expected {expected}")
    if len(names) != CLASSES or len(listed) != CLASSES:
        raise DataError(
            f"{path} has {len(names)} names of classes, {len(listed)} of them different; expected {CLASSES}, each "
            "once, of which every fourth is in a fold; fetch it again"
        )
    found: dict[str, list[str]] = {}
    files: dict[str, str] = {}
    for name, parts in listed.items():
        paths = parts.get("bad") if isinstance(parts, dict) else None
        if not isinstance(paths, list) or not all(isinstance(one, str) for one in paths):
            raise DataError(f"{path} has no list of images of {name}; expected {expected}")
        outside = next((one for one in paths if PurePosixPath(one).is_absolute() or ".." in one.split("/")), None)
        if outside is not None:
            raise DataError(f"{path} names {outside}, which is not below its folder; fetch it again")
        for one in paths:
            own = _name(name, one)
            if own in files:
                raise DataError(
                    f"{path} has two images with the name {own} (class_number), {files[own]} and {one}; expected "
                    "another for each; fetch it again"
                )
            files[own] = one
        found[name] = paths
    return tuple(map(str, names)), found
