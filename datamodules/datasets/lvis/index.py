"""LVIS-92i: ten folds of the categories of LVIS's validation part (incontext-protocol §3.3)."""

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from datamodules.datasets.lvis.verified import FILE as VERIFIED
from datamodules.datasets.lvis.verified import Verified, read_verified
from datamodules.indexes.views import SEPARATOR, AnnotatedMask, ViewIndex, view_photo
from datamodules.lists.plain_pickle import read_annotation_pickle
from fsbench.data.source import missing
from fsbench.errors import DataError
from fsbench.protocols.incontext import every_tenth

FILE = "lvis_val.pkl"
_FORM = "a pickle of {category id: {image name: {'annotations': [{'segmentation'}, …]}}}"


class Lvis(ViewIndex):
    """LVIS-92i. A name is `val2017/<photo>.jpg@<category id>`; a class number is a category's place in the file.

    Fold f of a K-shot test holds the categories f, f + 10, … among those with more than K images, in the order of the
    file: tests of other K are about other classes.

    Args:
        root: Folder with `lvis_val.pkl` as Matcher's authors distribute it, and COCO's photos in `coco/val2017` and
            `coco/train2017`; names in the file say which a photo is in.
    """

    name = "lvis"
    folds = 10

    def __init__(self, root: str):
        self.root = Path(root).expanduser()
        absent = [part for part in (FILE, "coco") if not (self.root / part).exists()]
        if absent:
            raise missing(
                f"{root} has no {' and no '.join(absent)}; expected {FILE} and the photos coco/{{train,val}}2017",
                __package__,
            )

    @cached_property
    def categories(self) -> dict[int, dict[str, Any]]:
        """Category id -> {image name: its annotations}, in the order of the file."""
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
        """Category ids in words, as the file has no names."""
        return tuple(f"category {key}" for key in self.categories)

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
        path = self.root / VERIFIED
        verified = read_verified(path)
        for category, images in self.categories.items():
            for photo in images:
                if photo in verified and category in verified[photo].absent:
                    raise missing(
                        f"{path} says that {photo} lacks the category {category}, of which {FILE} has objects; "
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
        return [self.root / FILE]

    def image_path(self, name: str) -> Path:
        return self.root / "coco" / view_photo(name)

    def label_file(self, name: str) -> Path:
        return self.root / FILE

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
            raise DataError(f"{name} is no image of {self.root / FILE}; expected <photo>{SEPARATOR}<category id>")
        return int(key)

    def _other_form(self, found: str) -> DataError:
        return missing(f"{self.root / FILE} is of another version: {found}; expected {_FORM}", __package__)
