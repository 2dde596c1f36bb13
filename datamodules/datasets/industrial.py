"""Defects of twenty kinds of products (fixed-supports.md §2)."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Self

from fsbench.base.errors import DataError
from fsbench.base.files import read_json
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.kinds.declaration import Declaration, Texts
from fsbench.datamodules.kinds.declared import unpack_archive
from fsbench.datamodules.kinds.two_lists import RandomFifth, Run
from fsbench.datamodules.prepare.by_hand import take_file
from fsbench.datamodules.prepare.job import Job

FOLDS, CLASSES = 4, 20
LIST = "data.json"
"""File with the names of the classes, and the images of each."""


def _unpack(job: Job, own: Declaration) -> list[str]:
    """Unpack the images and masks, and put the user's list beside them."""

    def place(name: PurePosixPath) -> str | None:
        if "__MACOSX" in name.parts or name.name.startswith(".") or name.suffix not in (".png", ".bmp"):
            return None
        return "/".join(name.parts[name.parts.index("data") :] if "data" in name.parts else ("data", *name.parts))

    return unpack_archive(job, own, place, lambda making, archive: take_file(job, LIST, own.source, making))


class Industrial(RandomFifth):
    """Pictures of defective products, as in `data.json`, twenty classes in four folds; a fifth is the test."""

    folds = FOLDS
    classes_of_fold = CLASSES // FOLDS
    declaration = Declaration(
        name="industrial",
        class_names=(),
        inner=("Industrial",),
        marks=(LIST, "data"),
        labels="{mask}",
        mask="any colour",
        make=_unpack,
        source=Source(
            page="https://www.scidb.cn",
            terms="named in the README of https://github.com/pasqualedem/DistillFSS",
            by_hand=(ByHand("the industrial defects", ("data.zip",)), ByHand("their list", (LIST,))),
            holds=(f"Industrial/{LIST}", "Industrial/data/<class>/<…>/<n>.{png,bmp}"),
        ),
    )

    def __init__(self, root: str, run: Run = "later"):
        super().__init__(root, run)
        self._fold: int | None = None
        self.class_names, self.texts = _read(self.root / LIST)

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

    def list_images(self) -> tuple[Sequence[str], Sequence[str]]:
        """Return both lists of all classes, or of a fold's classes after `in_fold`."""
        training, test = super().list_images()
        if self._fold is None:
            return training, test
        own = set(self.test_classes(self._fold))
        return [n for n in training if self.class_number(n) in own], [n for n in test if self.class_number(n) in own]


def _read(path: Path) -> tuple[tuple[str, ...], Mapping[str, Texts]]:
    """Return the names of the classes, and {image name: its file, mask and class} in the order of the list.

    An image's name is that of the authors' program: `<class>_<n>`.
    """
    try:
        content = read_json(path, "list")
        names, listed = tuple(content["clsName"]), content["clsDic"]
        files = [(kind, PurePosixPath(file)) for kind, own in listed.items() for file in own["bad"]]
        found: dict[str, Texts] = {
            f"{kind}_{file.stem}": {"path": str(file), "mask": str(file.with_suffix(".bmp")), "kind": kind}
            for kind, file in files
        }
        different = {*names}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} has another form ({error!r}); expected clsName, a list of classes, and clsDic with the paths of "
            "each class as bad; fetch it again"
        ) from error
    if not len(names) == len(different) == CLASSES or different != listed.keys() or len(found) < len(files):
        raise DataError(
            f"{path} has {len(names)} names of classes, {len(different)} of them different, lists of images of "
            f"{len(listed)}, and {len(files)} images, {len(found)} of them different; expected {CLASSES} classes with "
            "images, each once, under the same names; fetch it again"
        )
    if outside := next((file for _, file in files if file.is_absolute() or ".." in file.parts), None):
        raise DataError(f"{path} names {outside}, which is not below its folder; fetch it again")
    return names, found
