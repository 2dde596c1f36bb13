"""Labelled images of one's own, in whatever form they lie; a `folds.yaml` beside them may say more."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic import StringConstraints as Constraints
from pydantic_core import PydanticCustomError

from fsbench.base.errors import DataError, SettingsError
from fsbench.base.files import load_yaml, replacing
from fsbench.base.files.cache import entry_path, mark_used
from fsbench.base.files.images import MASK_PIXELS
from fsbench.base.files.names import composed, existing_form, two_alike
from fsbench.base.files.validation import PREDICATE, first_problem
from fsbench.data.copies import copy_remarks, trained_remarks
from fsbench.data.dataset import VOID, Part, QuerySampling
from fsbench.data.file_rules import remark
from fsbench.data.labelled.image import Drawn, LabelledImage, MaskFile
from fsbench.data.labelled.plausible import Plausibility, check_place
from fsbench.data.labelled.table import FORMS, LabelledTable, read_table
from fsbench.data.list_substitutes import print_once
from fsbench.data.orientation import fits_both_ways
from fsbench.data.palettes import SeenColours
from fsbench.data.published import own_name_fault
from fsbench.data.source import Source
from fsbench.datamodules.check.media import check_label_maps
from fsbench.datamodules.check.report import Report, some
from fsbench.datamodules.kinds.binary_masks import CountedOnce
from fsbench.datamodules.kinds.mask_folder import (
    IMAGE_SUFFIXES,
    name_in,
    named_files,
    ranges,
    read_names,
    read_numbers,
    require_present,
)
from fsbench.datamodules.lists.pixel_counts import PixelTable
from fsbench.protocols.conditions import ATLAS_NAMES
from fsbench.protocols.draws.fixed_supports import OwnSets
from fsbench.protocols.draws.fscs import AugmentedSettings
from fsbench.protocols.draws.presence import CompleteLabelMaps, KnownAbsence
from fsbench.protocols.episode_rules.pair_lists import pair_list

DESCRIPTION = "folds.yaml"
EXAMPLE = """\
name: shapes
classes: [circle, square, star, ring]     # numbers 1, 2, … in the label maps; or {1: circle, 5: square}
folds: [[circle, square], [star, ring]]   # novel classes of fold 0, fold 1, …
images: JPEGImages
masks: SegmentationClassAug
train: ImageSets/Segmentation/train.txt
val: ImageSets/Segmentation/val.txt"""
LOOKED_AT = 50
"""Label maps of which is said what is not plausible, evenly spaced over the list."""


def _wrong(expected: str) -> PydanticCustomError:
    return PydanticCustomError(PREDICATE, "{expected}", {"expected": expected})


def _own_name(name: str) -> str:
    if fault := own_name_fault(name, tuple(ATLAS_NAMES.values())):
        raise _wrong(f"is {name[:100]!r}, which {fault}; expected a name of its own, such as shapes")
    return name


def _different(classes: dict[int, str]) -> dict[int, str]:
    if len(set(classes.values())) < len(classes):
        raise _wrong("has the same name twice; expected different names")
    if alike := two_alike(classes.values()):
        raise _wrong("has the names {!r} and {!r}, which differ by case or spaces alone; expected one".format(*alike))
    return classes


def _once(names: list[str]) -> list[str]:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise _wrong(f"has {twice} twice in one list; expected each image once")
    return names


def _pattern(text: Any) -> re.Pattern[str]:
    with suppress(re.error, TypeError):
        if (pattern := re.compile(text)).groups == 1:
            return pattern
    raise _wrong(f"is {text!r}; expected a pattern with one pair of brackets, such as ^(patient[0-9]+)_")


def _by_number(entries: Any) -> Any:
    return dict(enumerate(entries, start=1)) if isinstance(entries, list) else entries


def _in_lists(names: Any) -> Any:
    return [names] if isinstance(names, list) and names and isinstance(names[0], str) else names


Text = Annotated[str, Constraints(strip_whitespace=True, min_length=1), AfterValidator(composed)]
Place = Annotated[Text, AfterValidator(lambda path: path.replace("\\", "/"))]
"""A path below the description's folder, with either separator."""
ImageName = Annotated[Text, AfterValidator(name_in)]
ImageNames = Annotated[list[ImageName], Field(min_length=1), AfterValidator(_once)]
Number = Annotated[int, Field(gt=0, lt=VOID)]
Pattern = Annotated[re.Pattern[str], BeforeValidator(_pattern)]
Groups = Annotated[dict[int | str, ImageNames], BeforeValidator(_by_number)]


class FolderDescription(BaseModel):
    """The entries of `folds.yaml`.

    Attributes:
        name: name of the data set in records and tables.
        classes: {class number in the label maps: name}; the file may also have a list of names, numbered from 1.
        folds: for every fold the numbers of its novel classes, ascending; the file may also have their names.
        images, masks: folders of the images and of the label maps, relative to the file.
        train, val: files with the names of the training and of the test images.
        min_pixels: an image is listed for a class of which it has this many pixels or more.
        query_sampling: "sequential" goes through all (image, class) pairs, "class_first" draws a class and then an
            image of it.
        augment_threshold: share of an image that a further class must cover in the augmented settings.
        supports: support sets for a test with a fixed support set (fixed-supports.md §9), which replace drawn ones; the
            file may have one list of image names.
        groups: {patient, scene or object: images that show it}, lists of such images, or a pattern that finds it in a
            name. No query has an image of its group as a support.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, AfterValidator(_own_name)]
    classes: Annotated[dict[Number, Text], Field(min_length=1), BeforeValidator(_by_number), AfterValidator(_different)]
    folds: Annotated[list[Annotated[list[int | Text], Field(min_length=1)]], Field(min_length=1)]
    images: Place = "JPEGImages"
    masks: Place = "SegmentationClassAug"
    train: Place = "ImageSets/Segmentation/train.txt"
    val: Place = "ImageSets/Segmentation/val.txt"
    min_pixels: int = Field(default=1, ge=0, le=MASK_PIXELS)
    query_sampling: QuerySampling = "sequential"
    augment_threshold: float = Field(default=0.07, ge=0, le=1)
    supports: Annotated[list[ImageNames], Field(min_length=1), BeforeValidator(_in_lists)] = []
    groups: Groups | Pattern = {}

    @model_validator(mode="after")
    def _check(self) -> "FolderDescription":
        """Replace the names in `folds` by class numbers, ascending, and compare entries with each other."""
        number_of: dict[int | str, int] = {name: number for number, name in self.classes.items()}
        number_of |= {number: number for number in self.classes}
        if unknown := [entry for fold in self.folds for entry in fold if entry not in number_of]:
            raise _wrong(f"folds has {unknown[0]!r}; expected names or numbers of its classes")
        self.folds = [sorted(number_of[entry] for entry in fold) for fold in self.folds]
        if max(Counter(number for fold in self.folds for number in fold).values()) > 1:
            raise _wrong("folds has a class twice; expected each class in one fold at most")
        if len(lengths := {len(own) for own in self.supports}) > 1:
            raise _wrong(
                f"supports has sets of {' and '.join(map(str, sorted(lengths)))} images; expected equally many"
            )
        if twice := [own for own in self.supports if sum(set(own) == set(other) for other in self.supports) > 1]:
            raise _wrong(f"supports has the set {', '.join(twice[0])} twice; expected different sets")
        if isinstance(self.groups, dict) and self.groups:
            name, times = Counter(name for own in self.groups.values() for name in own).most_common(1)[0]
            if times > 1:
                raise _wrong(f"groups has {name} in two groups; expected each image in one")
        return self

    def group_of(self, names: Sequence[str]) -> dict[str, str]:
        """Return {image: what it shows} of those `names` of which `groups` says it."""
        if isinstance(self.groups, re.Pattern):
            found = {name: self.groups.search(name) for name in names}
            return {name: one[1] for name, one in found.items() if one and one[1]}
        stated = {name: f"group {group}" for group, own in self.groups.items() for name in own}
        return {name: stated[name] for name in names if name in stated}


def read_description(path: Path) -> FolderDescription:
    """Read a `folds.yaml`; a DataError names file, key, what was found and what was expected."""
    example = ["a whole file is, for example:", *(f"  {line}" for line in EXAMPLE.splitlines())]
    entries: Any = None
    try:
        if not isinstance(entries := load_yaml(path), dict):
            raise ValueError(f"it holds {type(entries).__name__}")
        return FolderDescription(**{str(key): value for key, value in entries.items()})
    except ValidationError as error:
        problem = first_problem(error, entries, list(FolderDescription.model_fields))
        raise DataError(f"{path}: {problem}; {example[0]}", *example[1:]) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not YAML of keys and values ({error}); {example[0]}", *example[1:]) from error


class NumberedMask(MaskFile):
    """A label map that holds nothing but the numbers of the classes, 0 and 255."""

    def read(self, photo: Path | bytes) -> Drawn:
        assert isinstance(self.names, dict) and isinstance(photo, Path)
        return Drawn(read_numbers(self.file, self.seen, self.names, photo), self.names)


def described_table(root: Path, description: FolderDescription) -> LabelledTable:
    """Return the labelled images of a folder with a `folds.yaml`."""
    folders = [existing_form(root / place) or root / place for place in (description.images, description.masks)]
    if absent := [folder for folder in folders if not folder.is_dir()]:
        raise DataError(
            f"{absent[0]} does not exist; expected the folder that {root / DESCRIPTION} names; correct the path there "
            "or put the files in place"
        )
    photos, masks = named_files(folders[0], IMAGE_SUFFIXES), named_files(folders[1], [".png"])
    seen: SeenColours = {}
    labels = {name: NumberedMask(file, description.classes, seen=seen) for name, file in masks.items()}
    names = [description.classes.get(number, "") for number in range(1, max(description.classes) + 1)]
    group = description.group_of([*photos])
    images = [LabelledImage(name, file, labels.get(name), None, group.get(name)) for name, file in photos.items()]
    return LabelledTable(tuple(images), tuple(names))


def own_name(root: Path) -> str:
    """Return the name of a data set without `folds.yaml`: that of its folder, made safe, and not a published one's."""
    folder = (root if root.is_dir() else root.parent).absolute()
    name = re.sub(r"[^\w.-]+", " ", composed(folder.name)).strip(" .-_") or "photos"
    return f"own {name}" if own_name_fault(name, tuple(ATLAS_NAMES.values())) else name


class Folder(CountedOnce):
    """A data set of one's own: labelled images, with or without a `folds.yaml`.

    An image is listed for each class of which it has `min_pixels` pixels or more. The test list is sorted by (name,
    class), the training list by (class, name), as PASCAL's official lists are; lists for PFENet-like programs keep the
    order of the list files.

    Args:
        root: folder that holds `folds.yaml`, whose paths are relative to it; or a folder or file of labelled images
            (`fsbench.data.labelled`). Then one fold has all classes, and there is one list, or two if images have
            parts.
        classes: names of the numbers or colours of masks, "1=cat,2=dog" or "red=cat,blue=dog", or those to choose among
            named ones, "cat,dog"; not beside a `folds.yaml`.
    """

    turns_images = True
    source = Source(kind="own")

    def __init__(self, root: str, classes: str = ""):
        self.root = Path(root).expanduser()
        file = self.root / DESCRIPTION
        self.is_described = file.is_file()
        if self.is_described:
            if classes:
                raise SettingsError(f"classes is '{classes}', while {file} names the classes; leave classes out")
            described = read_description(file)
            self.table = described_table(self.root, described)
        else:
            self.table = read_table(self.root, classes)
            names = {number: name for number, name in enumerate(self.table.class_names, start=1) if name}
            if not names or not any(image.labels for image in self.table.images):
                raise DataError(f"{self.root} has no labelled image; expected {FORMS}", *self.table.notes)
            described = FolderDescription.model_construct(name=own_name(self.root), classes=names, folds=[[*names]])
        self.description = described
        self.name, self.class_names = described.name, self.table.class_names
        self.class_numbers, self.folds = frozenset(described.classes), len(described.folds)
        self.min_pixels, self.query_sampling = described.min_pixels, described.query_sampling
        self._rows = {image.name: image for image in self.table.images}

    @cached_property
    def lists(self) -> dict[Part, Path]:
        """{part: list file, or where the images lie}; training is not there without a list of it."""
        if not self.is_described:
            parts = {image.part or "trn" for image in self.table.images if image.labels}
            return dict.fromkeys(("val", "trn") if parts >= {"val", "trn"} else ("val",), self.root)
        files: dict[Part, str] = {"val": self.description.val, "trn": self.description.train}
        paths = {part: existing_form(self.root / file) or self.root / file for part, file in files.items()}
        named = "train" in self.description.model_fields_set
        return {part: path for part, path in paths.items() if part == "val" or named or path.exists()}

    @property
    def notes(self) -> list[str]:
        """Sentences on how the images were read, and on those without labels."""
        bare = [row.name for row in self.table.images if not (row.labels or self.is_described)]
        left_out = f"{len(bare)} images are left out, as they have no labels: {some(bare, 3)}"
        return [*self.table.notes, *[left_out] * bool(bare)]

    def list_name(self, part: Part) -> str:
        if self.is_described:
            return self.lists[part].name
        return "the images" if len(self.lists) == 1 else "the training images" if part == "trn" else "the test images"

    def candidates(self, part: Part) -> Sequence[str]:
        if part not in self.lists:
            raise DataError(f"{self.name} has one list of images; expected one for training; leave training out")
        if not self.is_described:
            one = len(self.lists) == 1
            return [row.name for row in self.table.images if row.labels and (one or row.part == part)]
        source, places = self.lists[part], (self.description.images, self.description.masks)
        names = [composed(name) for name in read_names(source)]
        labelled = {row.name for row in self.table.images if row.labels}
        require_present(names, self._rows, source, "image", self.root / places[0], IMAGE_SUFFIXES)
        require_present(names, labelled, source, "label map", self.root / places[1], [".png"])
        return names

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return [number for number in self.description.folds[fold] if isinstance(number, int)]

    def train_classes(self, fold: int) -> list[int]:
        return sorted(self.class_numbers.difference(self.test_classes(fold)))

    def image_path(self, name: str) -> Path:
        row = self._rows.get(composed(name))
        if row is None:
            return self.root / f"{name}.jpg"  # which does not exist
        return row.photo if isinstance(row.photo, Path) else _unpacked(row.photo)

    def label_file(self, name: str) -> Path:
        row = self._rows.get(composed(name))
        return row.labels.file if row and row.labels else self.root / f"{name}.png"

    def label_map(self, name: str) -> np.ndarray:
        if composed(name) not in self._rows:
            raise DataError(f"{self.name} has no image {name}; expected one of its {len(self._rows)} images")
        return self.table.label_map(composed(name))

    def count_pixels(self, part: Part, names: Sequence[str]) -> None:
        super().count_pixels(part, names)
        masks = {name: row.labels.file for name in names if isinstance((row := self._rows[name]).labels, MaskFile)}
        if turned := [name for name in names if fits_both_ways(self.image_path(name), masks.get(name))]:
            print_once(
                f"{self.name}: {len(turned)} images are turned by their EXIF entry ({some(turned, 3)}); their labels, "
                "which fit both ways, are taken as drawn on the turned images"
            )

    def group_of(self, name: str) -> str:
        row = self._rows.get(composed(name))
        return row.group if row and row.group else name

    def check_groups(self) -> None:
        """Check that the groups of `folds.yaml` are of listed images, and that a pattern fits the name of each."""
        groups = self.description.groups
        listed = {name for part in self.lists for name in self.candidates(part)} if groups else set()
        if isinstance(groups, re.Pattern):
            wrong = sorted(name for name in listed if self._rows[name].group is None)
            problem = f"is {groups.pattern!r}, which the image {wrong[0]} does not fit" if wrong else ""
        else:
            wrong = sorted({name for own in groups.values() for name in own} - listed)
            problem = f"has {some(wrong, 3)} in no list of images" if wrong else ""
        if wrong:
            raise DataError(
                f"groups of {self.root / DESCRIPTION} {problem}; expected names of the lists, or a pattern that all "
                "names fit, such as ^(patient[0-9]+)_"
            )

    def check_classes(self, fold: int | None, names: Sequence[str] | None = None) -> None:
        """Check that the numbers in label maps fit the classes, and say what is not plausible of them.

        Args:
            fold: the fold whose classes must each be shown by some label map; None if no class must.
            names: the images to check; None for all images that tests may use.
        """
        self.check_groups()
        tested = self.candidates("val") if names is None else names
        for note in [*self.notes, *self.implausible(tested)]:
            print_once(f"{self.name}: {note}")
        wanted = [] if fold is None else self.test_classes(fold)
        tables = [self.count_table(sorted(tested))]
        if not {max(self.class_numbers), *wanted} <= set(tables[0].labels):  # else training images need not be counted
            with suppress(DataError):  # the folder may be for tests alone
                tables += [self.count_table(sorted(self.candidates("trn")))] if names is None else []
            for fault in self.faults(tables, wanted):
                raise DataError(fault)

    def implausible(self, names: Sequence[str]) -> list[str]:
        """Return notes on what is not plausible of up to `LOOKED_AT` label maps, evenly spaced over `names`.

        Raises:
            DataError: a photo of any name and its mask are GeoTIFFs of different places.
        """
        found = Plausibility()
        for name in names:
            if row := self._rows.get(composed(name)):
                check_place(row)
        for place in np.linspace(0, len(names) - 1, min(len(names), LOOKED_AT)).astype(int):
            try:
                labels = self.label_map(names[place])
            except DataError:  # whoever uses the image says what is wrong
                continue
            found.add(names[place], labels, self._rows[composed(names[place])])
        return found.notes()

    def faults(self, tables: Sequence[PixelTable], wanted: Sequence[int]) -> Iterator[str]:
        """Yield what contradicts the classes; those in `wanted` must be shown. The first table is of the test."""
        tested, shown = set(tables[0].labels), Counter(label for table in tables for label in table.labels)
        if VOID in tested and tested <= {0, VOID}:
            which = "all label maps" + ("" if shown.keys() <= {0, VOID} else f" of {self.list_name('val')}")
            what = "the class as 1" if self.class_numbers == {1} else f"each class as its number in {DESCRIPTION}"
            yield remark("label_maps_of_void", which, what=what)
        elif shown.keys() - {VOID} == {number - 1 for number in self.class_numbers} and shown[0] < sum(
            len(table.names) for table in tables
        ):
            yield self.absence("label_maps_from_0", [max(self.class_numbers)], tables)
        elif absent := [number for number in wanted if number not in shown]:
            yield self.absence("class_in_no_label_map", absent, tables)

    def absence(self, rule: str, absent: Sequence[int], tables: Sequence[PixelTable]) -> str:
        parts: tuple[Part, ...] = ("trn", "val")
        lists = " or ".join(map(self.list_name, parts[-len(tables) :]))
        numbers = ranges({label for table in tables for label in table.labels} - {0})
        subject = " and ".join(f"{self.name_of(number)} ({number})" for number in absent)
        verb = "is" if len(absent) == 1 else "are"
        return remark(rule, subject, verb=verb, lists=lists, numbers=numbers or "0 alone")

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None, classes: str = "") -> None:
        """Report on images, labels and lists in `root`; `lists` is not used."""
        report.complete = "usable"
        data = report.attempt("images", lambda: cls(str(root), classes))
        if data is None:
            return
        for note in data.notes:
            report.note("images", note)
        folds = f", {data.folds} folds" if data.is_described else ""
        report.ok("classes", f"{data.name}: {len(data.class_numbers)} classes{folds}")
        report.attempt("groups", data.check_groups)
        trains = any(data.train_classes(fold) for fold in range(data.folds))
        listed: dict[Part, Sequence[str]] = {}
        for part, file in data.lists.items():
            if data.is_described and part == "trn" and not trains and not file.exists():
                report.note(file.name, f"absent; leave the entry train of {DESCRIPTION} out, or put the list there")
                continue
            names = report.attempt(data.list_name(part), lambda part=part: data.candidates(part))  # type: ignore[misc]
            if names is not None:
                listed[part] = names
                report.ok(data.list_name(part), f"{len(names)} names")
                check_label_maps(report, f"{part} images", data, names)
        if "trn" not in data.lists:
            (report.problem if trains else report.note)(
                "train list",
                "absent, so that one list serves tests with a fixed support set, and nothing is trained on",
            )
        if report.usable:
            _check_labels(report, data, listed)
            _check_copies(report, data, listed)
        if not report.usable:
            return
        if not trains:
            report.complete = "usable for tests: all classes are novel, so there is nothing to train on"
        for part in listed:
            for fold in range(data.folds if part == "val" or trains else 0):
                subject = f"list {part} fold {fold}"
                pairs = report.attempt(subject, lambda part=part, fold=fold: pair_list(data, part, fold).pairs)  # type: ignore[misc]
                counts = Counter(data.name_of(number) for _, number in pairs or ())
                report.ok(subject, f"{counts.total()} pairs: {', '.join(f'{name} {n}' for name, n in counts.items())}")


def _check_labels(report: Report, data: Folder, listed: Mapping[Part, Sequence[str]]) -> None:
    tables = [data.count_table(sorted(names)) for names in listed.values()]
    folds = [data.test_classes(fold) for fold in range(data.folds)]
    problems = dict.fromkeys(fault for wanted in folds for fault in data.faults(tables, wanted))
    for problem in problems:
        report.problem("label maps", problem)
    every = sorted({name for names in listed.values() for name in names})
    for note in report.attempt("label maps", lambda: data.implausible(every)) or ():
        report.note("label maps", note)
    void = [name for table in tables for name in table.names if VOID in table.class_pixels(name)[0].keys() <= {0, VOID}]
    if void and not problems:
        verb = "label map holds" if len(void) == 1 else "label maps hold"
        report.note("label maps", remark("label_map_of_void", len(void), verb=verb, names=some(void, 3)))


def _check_copies(report: Report, data: Folder, listed: Mapping[Part, Sequence[str]]) -> None:
    def shown(name: str) -> str:
        return f"{name} ({', '.join(data.list_name(part) for part in ('val', 'trn') if name in listed.get(part, ()))})"

    test, train = listed["val"], listed.get("trn", ())
    for found in copy_remarks(data, sorted({*test, *train}), shown if train else str) + trained_remarks(
        data, test, train
    ):
        report.note("images", found)


def _unpacked(picture: bytes) -> Path:
    path = entry_path("pictures", hashlib.sha256(picture).hexdigest()).with_suffix(".picture")
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as temporary:
            temporary.write_bytes(picture)
    mark_used(path)
    return path


@AugmentedSettings.register(Folder)
class FolderAugmentedSettings(AugmentedSettings):
    """Smallest object that the augmented settings of the protocol fscs add, as `folds.yaml` states it."""

    data: Folder

    @property
    def threshold(self) -> float:
        return self.data.description.augment_threshold


KnownAbsence.register(Folder)(CompleteLabelMaps)


@OwnSets.register(Folder)
class FolderSets(OwnSets):
    """The support sets that `folds.yaml` names, and the training list if there is one."""

    data: Folder

    def named(self) -> tuple[tuple[str, ...], ...]:
        return tuple(map(tuple, self.data.description.supports))

    def training(self) -> Sequence[str] | None:
        return self.data.candidates("trn") if "trn" in self.data.lists else None
