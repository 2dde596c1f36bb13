"""LVIS-92i: ten folds of the categories of LVIS's validation part (incontext-protocol §3.3)."""

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from fsbench.base.errors import DataError
from fsbench.data.list_substitutes import substitute_list
from fsbench.data.source import missing
from fsbench.datamodules.datasets.lvis.own_file import FILE as OWN_FILE
from fsbench.datamodules.datasets.lvis.own_file import OwnFile, Verified, read_own_file
from fsbench.datamodules.indexes.views import (
    SEPARATOR,
    AnnotatedMask,
    ViewIndex,
    other_version,
    require_parts,
    view_photo,
)
from fsbench.datamodules.lists.plain_pickle import read_annotation_pickle
from fsbench.protocols.draws.incontext import every_tenth

FILE = "lvis_val.pkl"
_FORM = "a pickle of {category id: {image name: {'annotations': [{'segmentation'}, …]}}}"


class Lvis(ViewIndex):
    """LVIS-92i. A name is `val2017/<photo>.jpg@<category id>`; a class number is a category's place in the file.

    Fold f of a K-shot test holds the categories f, f + 10, … among those with more than K images, in the order of the
    file: tests of other K are about other classes.

    Without the authors' list, categories and photos are those of LVIS's own file: categories by ascending id, with
    their names, and photos in the file's order. The episodes of published tests follow from the list alone.

    Args:
        root: Folder with `lvis_val.pkl` as Matcher's authors distribute it or LVIS's own `lvis_v1_val.json`, or both,
            and COCO's photos in `coco/val2017` and `coco/train2017`; names in the file say which a photo is in.

    Attributes:
        file: the one that the categories are from.
    """

    name = "lvis"
    folds = 10

    def __init__(self, root: str):
        self.root = Path(root).expanduser()
        self.file = next((name for name in (FILE, OWN_FILE) if (self.root / name).exists()), FILE)
        expected = f"{FILE} and the photos coco/{{train,val}}2017, or for PROTOCOL=presence alone {OWN_FILE} and these"
        require_parts(self.root, (self.file, "coco"), expected, __package__)

    def require_list(self) -> None:
        """Raise DataError unless the authors' list is there, by whose order the published tests draw."""
        if self.file != FILE:
            raise missing(
                f"{self.root} has {self.file} and no {FILE}, whose order decides the episodes of the published tests; "
                f"expected {FILE}; PROTOCOL=presence does without",
                __package__,
            )

    @cached_property
    def _own(self) -> OwnFile:
        return read_own_file(self.root / OWN_FILE, objects=self.file == OWN_FILE)

    @cached_property
    def categories(self) -> Mapping[int, Mapping[str, Any]]:
        """Category id -> {image name: its annotations}, in the order of the file."""
        if self.file == OWN_FILE:
            substitute_list(self, "val", FILE, f"the categories of {OWN_FILE}, by ascending id")
            return self._own.categories
        content = read_annotation_pickle(self.root / FILE, _FORM)
        if not isinstance(content, Mapping) or not content:
            raise self._other_form(f"it holds {type(content).__name__}")
        for key, images in content.items():
            named = isinstance(images, Mapping) and all(isinstance(name, str) for name in images)
            if type(key) is not int or not named:
                raise self._other_form(f"its entry {reprlib.repr(key)} is no category with images")
            first: Any = next(iter(images.values()), {"annotations": []})
            if not isinstance(first, Mapping) or not isinstance(first.get("annotations"), list):
                raise self._other_form(f"category {key} has images without annotations")
        return dict(content)

    @cached_property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the categories; their ids in words where they are from the authors' list, which has no names."""
        names = self._own.names if self.file == OWN_FILE else {}
        return tuple(names.get(key, f"category {key}") for key in self.categories)

    @cached_property
    def _ids(self) -> tuple[int, ...]:
        return tuple(self.categories)

    @cached_property
    def numbers(self) -> dict[int, int]:
        """Category id -> class number."""
        return {key: number for number, key in enumerate(self.categories, start=1)}

    def category(self, number: int) -> int:
        """Return the category id of class `number`."""
        return self._ids[number - 1]

    @cached_property
    def verified(self) -> Mapping[str, Verified]:
        """Photo -> categories that the annotators made sure of, from LVIS's own file.

        Raises:
            DataError: the file is not there, or contradicts the authors' one.
        """
        verified = self._own.verified
        for category, images in self.categories.items():
            for photo in images:
                if photo in verified and category in verified[photo].absent:
                    raise missing(
                        f"{self.root / OWN_FILE} says that {photo} lacks the category {category}, of which {self.file} "
                        "has objects; "
                        "expected files of one version of LVIS",
                        __package__,
                    )
        return verified

    def frequent_categories(self, shot: int) -> list[int]:
        """Return the categories with more than `shot` images, in the order of the file."""
        return [key for key, images in self.categories.items() if len(images) > shot]

    def photo_classes(self) -> Iterator[tuple[str, int]]:
        return ((photo, self.numbers[key]) for key in self.frequent_categories(1) for photo in self.categories[key])

    def class_views(self, photo: str, number: int) -> Sequence[str]:
        return [f"{photo}{SEPARATOR}{self._ids[number - 1]}"]

    def test_classes(self, fold: int) -> list[int]:
        """Return the classes of 1-shot tests."""
        self.check_fold(fold)
        return [self.numbers[key] for key in every_tenth(self.frequent_categories(1), fold, self.folds)]

    @property
    def annotation_files(self) -> Sequence[Path]:
        return [self.root / self.file]

    def image_path(self, name: str) -> Path:
        return self.root / "coco" / view_photo(name)

    def label_file(self, name: str) -> Path:
        return self.root / self.file

    def class_number(self, name: str) -> int:
        return self.numbers[self._category(name)]

    def masks(self, name: str) -> Sequence[AnnotatedMask]:
        try:
            image = self.categories[self._category(name)][view_photo(name)]
            return [
                AnnotatedMask(f"annotation {annotation.get('id', place)}", annotation["segmentation"])
                for place, annotation in enumerate(image["annotations"])
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise self._other_form(f"it has no annotations of {name}") from error

    def _category(self, name: str) -> int:
        key = name.rpartition(SEPARATOR)[2]
        if not key.isdecimal() or int(key) not in self.categories:
            raise DataError(f"{name} is no image of {self.root / self.file}; expected <photo>{SEPARATOR}<category id>")
        return int(key)

    def _other_form(self, found: str) -> DataError:
        return other_version(self.root / self.file, found, _FORM, __package__)
