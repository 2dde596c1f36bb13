"""Tables of labelled images: a data set of one's own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import is_folder
from fsbench.data.class_names import check_names
from fsbench.data.dataset import VOID
from fsbench.data.labelled.classes import ClassNames, first, parse_classes
from fsbench.data.labelled.files import Found, read_annotation_file
from fsbench.data.labelled.folders import read_folder
from fsbench.data.labelled.image import LabelledImage, MaskFile
from fsbench.data.labelled.outlines import Outlines
from fsbench.data.labelled.photos import TABLES, part_word
from fsbench.data.labelled.tabular import names_photos, read_rows


@dataclass(frozen=True)
class LabelledTable:
    """Labelled images by name, names of class 1, 2, … ("" where a number has none), and notes on how they were read."""

    images: tuple[LabelledImage, ...]
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def _by_name(self) -> dict[str, LabelledImage]:
        return {image.name: image for image in self.images}

    def __getitem__(self, name: str) -> LabelledImage:
        return self._by_name[name]

    def label_map(self, name: str) -> np.ndarray:
        """Return the label map (H, W) uint8 of an image, upright, in the table's class numbers."""
        image = self[name]
        if image.labels is None:
            raise DataError(f"the image {name} is not labelled; expected a mask or an annotation file of it")
        labels, classes, _ = image.labels.read(image.photo)
        numbers = np.zeros(256, np.uint8)
        numbers[VOID] = VOID
        for number, class_name in classes.items():
            if class_name in self.class_names:  # else it was not chosen
                numbers[number] = self.class_names.index(class_name) + 1
        return numbers[labels]


def read_table(root: Path, classes: str = "", photos: Path | None = None) -> LabelledTable:
    """Read the labelled images of a folder or file, in whatever form they lie there.

    Class numbers are those of numbered label maps; those of COCO's files ascend with the ids of categories that have
    objects; all others ascend with the names.

    Args:
        root: a folder, an annotation file or a CSV or Parquet table.
        classes: "1=cat,2=dog" names the numbers of label maps; "cat,dog" chooses among classes that have names.
        photos: folder of the photos that annotation files name, instead of the folder of the file.

    Raises:
        DataError: there is no labelled image, or a file cannot be read.
        SettingsError: nothing shows a class that `classes` names.
    """
    names = parse_classes(classes)
    found = read_images(root, names, photos)
    name_numbers(found)
    if not found.images:
        raise DataError(f"{root} has no photo; expected {FORMS}", *found.notes)
    words = {image.part for image in found.images}
    parts = {"train": "trn", "val": "val", "test": "val"}
    if {"test", "val"} <= words:
        parts["val"] = "trn"
        found.notes.append(f"{root}: there are val and test; test is the test, and images of val belong to training")
    if not {"test", "val"} & words or len(words) == 1:  # one part is no division
        parts = {}
    elif alone := [image.name for image in found.images if not image.part and image.labels]:
        parts[""] = "trn"
        found.notes.append(f"{len(alone)} images of no part are taken for training: {first(alone)}")
    twice = Counter(image.name for image in found.images)
    base = root if is_folder(root) else root.parent
    images = [
        replace(
            image, name=_longer(image, base) if twice[image.name] > 1 else image.name, part=parts.get(image.part or "")
        )
        for image in found.images
    ]
    name, number = Counter(image.name for image in images).most_common(1)[0]
    if number > 1:
        raise DataError(f"{root} has two images named {name}; expected one name for an image; rename one")
    ordered = tuple(sorted(images, key=lambda image: image.name))
    class_names = _class_names(ordered, found.classes, names)
    names.check(class_names)
    return LabelledTable(ordered, class_names, tuple(found.notes))


def _longer(image: LabelledImage, base: Path) -> str:
    if not isinstance(image.photo, Path):
        return image.name
    return (image.photo.relative_to(base) if image.photo.is_relative_to(base) else image.photo).as_posix()


FORMS = (
    "photos with PNG masks beside them or in a sister folder (photos/, masks/), files of LabelMe or COCO, a folder for "
    "each class, or a CSV or Parquet table"
)


def read_images(
    path: Path, names: ClassNames, photos: Path | None = None, keeps_unmarked: bool = True, sure: bool = True
) -> Found:
    """Return the labelled images of a folder or file, in whatever form; see `read_folder` for the arguments."""
    if is_folder(path):
        files = [file for file in sorted(path.glob("[!.]*")) if file.suffix.lower() in TABLES]
        tables = [file for file in files if names_photos(file)]
        found = Found() if tables else read_folder(path, names, photos, keeps_unmarked, sure)
        if others := [file for file in files if file not in tables]:
            found.notes.append(f'left out, as they are no tables with a column "photo": {first(others)}')
        of_photos: dict[Path | bytes, Path] = {}
        for table in tables:
            own = read_rows(table, names)
            for image in own.images:
                if of_photos.setdefault(image.photo, table) != table:
                    raise DataError(
                        f"{of_photos[image.photo]} and {table} both have the photo {image.photo!s}; expected each "
                        "photo in one table; take it out of the other"
                    )
            own.images = [replace(image, part=image.part or part_word([table.stem])) for image in own.images]
            found.extend(own)
        if tables:
            found.notes.append(f"{first(tables)}: what else lies in the folder of a table is left out")
        return found
    if path.suffix.lower() == ".json":
        found = read_annotation_file(path, photos, None, names.chosen, keeps_unmarked)
        found.note_unused(path)
        return found
    if path.suffix.lower() in TABLES:
        return read_rows(path, names)
    raise DataError(f"{path} is no folder and no table of labelled images; expected {FORMS}")


def name_numbers(found: Found) -> None:
    """Read the label maps whose numbers have no names, and name these; where some have numbers, none is white."""
    unnamed = {
        place: image.labels
        for place, image in enumerate(found.images)
        if isinstance(image.labels, MaskFile) and image.labels.names is None and not image.labels.colours
    }
    known: dict[int, str] = {}
    shown, has_void = {}, False
    for place, labels in unnamed.items():
        drawn = labels.read(found.images[place].photo)
        shown[place], has_void = drawn.classes, has_void or bool((drawn.labels == VOID).any())
        known |= drawn.classes
    void = []
    for place, labels in unnamed.items():
        numbered = replace(labels, names=known or None, is_numbered=has_void or bool(known.keys() - {1}))
        if numbered.is_numbered and [*shown[place]] == [1] and not numbered.read(found.images[place].photo).classes:
            void.append(labels.file)
        found.images[place] = replace(found.images[place], labels=numbered)
    if void:
        found.notes.append(f"255 is void in {first(void)}, as other label maps have class numbers")


def _class_names(images: Sequence[LabelledImage], coco: Sequence[str], names: ClassNames) -> tuple[str, ...]:
    """Return the names of class 1, 2, … ."""
    stated: dict[int, set[str]] = {}
    named = set(names.colours.values())
    for image in images:
        labels = image.labels
        named |= image.classes.keys()
        if isinstance(labels, MaskFile):
            named |= {*labels.colours.values()}
        if isinstance(labels, Outlines):
            named |= {*labels.names}
        elif isinstance(labels, MaskFile) and isinstance(labels.names, str):
            named.add(labels.names)
        elif isinstance(labels, MaskFile) and isinstance(labels.names, Mapping):
            for number, name in labels.names.items():
                stated.setdefault(number, set()).add(name)
    places = Counter(name for own in stated.values() for name in own)
    numbers = {number: min(own) for number, own in stated.items() if len(own) == places[min(own)] == 1}
    named |= places.keys()  # names that label maps number differently are numbered anew
    free = iter(number for number in range(1, 2 * VOID + len(named)) if number not in numbers)
    numbers |= {next(free): name for name in (*coco, *sorted(named - {*coco})) if name not in numbers.values()}
    if names.chosen:
        kept = (name for _, name in sorted(numbers.items()) if name in names.chosen)
        numbers = dict(enumerate(kept, start=1))
    check_names([*numbers.values()], "the labelled images")
    if max(numbers, default=0) >= VOID:
        raise DataError(f"there are {len(numbers)} classes; expected at most 254; leave some out")
    return tuple(numbers.get(number, "") for number in range(1, max(numbers, default=0) + 1))
