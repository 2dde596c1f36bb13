"""Any data set of images and label PNGs in the VOC layout, described by a `folds.yaml` beside them."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from re import Pattern
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from fsbench.base.errors import DataError
from fsbench.base.files import load_yaml
from fsbench.base.files.images import MASK_PIXELS
from fsbench.base.files.names import composed, existing_form, other_case, two_alike
from fsbench.base.files.validation import PREDICATE, first_problem
from fsbench.data.copies import copy_remarks, trained_remarks
from fsbench.data.dataset import VOID, Part, QuerySampling
from fsbench.data.file_rules import refusal, remark
from fsbench.data.list_substitutes import print_once
from fsbench.data.orientation import fits_both_ways
from fsbench.data.published import own_name_fault
from fsbench.data.source import Source
from fsbench.datamodules.check.media import check_label_maps, report_absent
from fsbench.datamodules.check.report import Report, some
from fsbench.datamodules.kinds.mask_folder import IMAGE_SUFFIXES, MaskFolder, name_in, ranges, read_names
from fsbench.datamodules.lists.pixel_counts import PixelTable
from fsbench.protocols.conditions import ATLAS_NAMES
from fsbench.protocols.draws.fixed_supports import OwnSets
from fsbench.protocols.draws.fscs import AugmentedSettings
from fsbench.protocols.draws.pair_lists import pair_list
from fsbench.protocols.draws.presence import CompleteLabelMaps, KnownAbsence

DESCRIPTION = "folds.yaml"
EXAMPLE = """\
name: shapes
classes: [circle, square, star, ring]     # numbers 1, 2, … in the label maps; or {1: circle, 5: square}
folds: [[circle, square], [star, ring]]   # novel classes of fold 0, fold 1, …
images: JPEGImages
masks: SegmentationClassAug
train: ImageSets/Segmentation/train.txt
val: ImageSets/Segmentation/val.txt"""


class Folder(MaskFolder):
    """A folder of images and label PNGs with a `folds.yaml`.

    `folds.yaml` names classes, folds and list files. An image is listed for each class of which it has `min_pixels`
    pixels or more. The test list is sorted by (name, class), the training list by (class, name), as PASCAL's official
    lists are; lists for PFENet-like programs keep the order of the list files.

    Args:
        root: folder that holds `folds.yaml`; the paths in it are relative to this folder.
    """

    turns_images = True
    source = Source(kind="own")

    def __init__(self, root: str):
        self.root = Path(root).expanduser()
        file = self.root / DESCRIPTION
        description = read_description(file)
        self.name = description.name
        # numbers that the description leaves out have no name and belong to no fold
        highest = max(description.classes)
        self.class_names = tuple(description.classes.get(number, "") for number in range(1, highest + 1))
        self._novel_classes = description.folds
        self.folds = len(description.folds)
        self.min_pixels = description.min_pixels
        self.query_sampling = description.query_sampling
        self.augment_threshold = description.augment_threshold
        self.named_supports = description.supports
        self._group_of = description.groups
        self.names_training = "train" in description.model_fields_set
        entries = (description.train, description.val, description.images, description.masks)
        train, val, images, masks = (existing_form(self.root / entry) or self.root / entry for entry in entries)
        self.list_files: dict[Part, Path] = {"trn": train, "val": val}
        super().__init__(images, masks, description.classes)
        for folder in (self.image_folder, self.label_folder):
            if not folder.is_dir():
                raise DataError(
                    f"{folder} does not exist; expected the folder that {file} names; correct the path there or put "
                    "the files in place"
                )

    def count_pixels(self, part: Part, names: Sequence[str]) -> None:
        super().count_pixels(part, names)
        turned = [name for name in names if fits_both_ways(self.image_path(name), self.label_file(name))]
        if turned and os.environ.get("LOCAL_RANK", "0") == "0":
            print_once(
                f"{self.name}: {len(turned)} images are turned by their EXIF entry ({some(turned, 3)}); their label "
                "maps, which fit both ways, are taken as drawn on the turned images"
            )

    @property
    def present_lists(self) -> dict[Part, Path]:
        """{part: list file} of the test, and of training if there is such a file."""
        return {part: path for part, path in self.list_files.items() if part == "val" or path.exists()}

    def group_of(self, name: str) -> str:
        """Return the patient, scene or object that an image shows, as `folds.yaml` states it; by default its name."""
        if isinstance(self._group_of, dict):
            return self._group_of.get(composed(name), name)
        found = self._group_of.search(name)
        if found is None or not found[1]:
            raise DataError(
                f"groups of {self.root / DESCRIPTION} is {self._group_of.pattern!r}, which the image {name} does not "
                "fit; expected a pattern that all names fit, such as ^(patient[0-9]+)_"
            )
        return found[1]

    def check_groups(self) -> None:
        """Check that the groups of `folds.yaml` are of listed images, and that a pattern fits the name of each.

        Raises:
            DataError: a group has a name that is in no list, or a pattern does not fit a listed name.
        """
        listed = [name for part in self.present_lists for name in self.candidates(part)]
        known = set(map(composed, listed))
        if isinstance(self._group_of, dict) and (unknown := [name for name in self._group_of if name not in known]):
            raise DataError(
                f"groups of {self.root / DESCRIPTION} has {some(unknown, 3)} in no list of images; expected names of "
                "the lists; correct the name, or remove it"
            )
        for name in listed:
            self.group_of(name)

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return self._novel_classes[fold]

    def train_classes(self, fold: int) -> list[int]:
        return sorted(self.class_numbers.difference(self.test_classes(fold)))

    def candidates(self, part: Part) -> Sequence[str]:
        """Return the image names in the list file of a part ("trn" or "val")."""
        names = read_names(self.list_files[part])
        self.require_files(names, self.list_files[part])
        return names

    def check_classes(self, fold: int | None, names: Sequence[str] | None = None) -> None:
        """Check that the numbers in label maps fit the classes of folds.yaml.

        Args:
            fold: the fold whose classes must each be shown by some label map; None if no class must.
            names: the images to check; None for all images that tests may use.

        Raises:
            DataError: label maps hold only 0 and 255, seem to be numbered from 0, or show no pixel of a class of the
                fold.
        """
        classes = [] if fold is None else self.test_classes(fold)
        tested = set(self.count_table(sorted(self.candidates("val") if names is None else names)).labels)
        last = max(self.class_numbers)
        if tested.issuperset({last, *classes}):  # training images need not be counted
            return
        tables = self._counted_maps(names)
        found = Counter(label for table in tables for label in table.labels)
        if VOID in tested <= {0, VOID}:
            which = "all label maps" + ("" if found.keys() <= {0, VOID} else f" of {self.list_files['val'].name}")
            what = "the class as 1" if self.class_numbers == {1} else "each class as its number in folds.yaml"
            raise refusal("label_maps_of_void", which, what=what)
        some_lack_0 = found[0] < sum(len(table.names) for table in tables)
        if found.keys() - {VOID} == {number - 1 for number in self.class_numbers} and some_lack_0:
            raise DataError(self._absence("label_maps_from_0", [last], tables))
        if absent := [number for number in classes if number not in found]:
            raise DataError(self._absence("class_in_no_label_map", absent, tables))

    def _counted_maps(self, names: Sequence[str] | None = None) -> list[PixelTable]:
        """Return the pixels in the label maps of `names`, or in those of tests and then, if they are there, training.

        Raises DataError where label maps of tests are absent, or some hold a number that is no class.
        """
        if names is not None:
            return [self.count_table(sorted(names))]
        tables = [self.count_table(sorted(self.candidates("val")))]
        trained: Sequence[str] = ()
        with suppress(DataError):  # the folder may be for tests alone
            trained = self.candidates("trn")
        return [*tables, self.count_table(sorted(trained))] if trained else tables

    def _absence(self, rule: str, absent: Sequence[int], tables: Sequence[PixelTable]) -> str:
        """Return the sentence of a rule about classes that are in none of the label maps."""
        parts: tuple[Part, ...] = ("val", "trn")
        lists = [self.list_files[part].name for part in parts[: len(tables)]]
        numbers = ranges({label for table in tables for label in table.labels} - {0})
        subject = " and ".join(f"{self.name_of(number)} ({number})" for number in absent)
        verb = "is" if len(absent) == 1 else "are"
        return remark(rule, subject, verb=verb, lists=" or ".join(reversed(lists)), numbers=numbers or "0 alone")

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        """Report on images, label maps and lists in `root`; `lists` is not used."""
        report.complete = "usable"
        data = report.attempt("folds.yaml", lambda: cls(str(root)))
        files = report.attempt("images", lambda: data._image_files) if data else None
        if data is None or files is None:
            return
        report.ok("folds.yaml", f"{data.name}: {len(data.class_numbers)} classes, {data.folds} folds")
        trains = any(data.train_classes(fold) for fold in range(data.folds))
        if "trn" not in data.present_lists and not trains:
            file = data.list_files["trn"].name
            if data.names_training:
                report.note(file, "absent; tests with a fixed support set need it, or no entry train in folds.yaml")
            else:
                report.note(file, "absent, so that one list serves tests with a fixed support set")
        for split, path in (data.list_files if trains else data.present_lists).items():
            names = report.attempt(f"{path.name}", lambda path=path: read_names(path))  # type: ignore[misc]
            if names is None:
                continue
            report.ok(path.name, f"{len(names)} names")
            images, labels = data.without_image(names), data.without_label_map(names)
            remark = other_case(data.image_path(images[0]), IMAGE_SUFFIXES) if images else ""
            report_absent(report, path.name, images, f"images in {data.image_folder}{remark}")
            remark = other_case(data.label_file(labels[0])) if labels else ""
            report_absent(report, path.name, labels, f"label maps in {data.label_folder}{remark}")
            both = [name for name in names if name not in {*images, *labels}]
            check_label_maps(report, f"{split} images", data, both)
        if not report.usable:
            return
        report.attempt("groups", data.check_groups)
        _check_numbers(report, data)
        _check_copies(report, data)
        if not report.usable:
            return
        if not trains:
            report.complete = "usable for tests: all classes are novel, so there is nothing to train on"
        for split in data.present_lists:
            for fold in range(data.folds):
                subject = f"list {split} fold {fold}"
                if split == "trn" and not data.train_classes(fold):
                    report.ok(
                        subject, "no class to train on; for methods without training, and for trained checkpoints"
                    )
                    continue
                pairs = report.attempt(subject, lambda split=split, fold=fold: pair_list(data, split, fold).pairs)  # type: ignore[misc]
                if pairs:
                    counts = Counter(data.class_names[number - 1] for _, number in pairs)
                    report.ok(subject, f"{len(pairs)} pairs: {', '.join(f'{name} {n}' for name, n in counts.items())}")


def _check_numbers(report: Report, data: Folder) -> None:
    """Report on the numbers in label maps against the classes of folds.yaml."""
    for split in data.present_lists:
        report.attempt(f"{split} label maps", lambda split=split: data.count_table(sorted(data.candidates(split))))  # type: ignore[misc]
    if not report.usable:
        return
    problems: dict[str, None] = {}
    for fold in range(data.folds):
        try:
            data.check_classes(fold)
        except DataError as error:
            problems[str(error)] = None
    for problem in problems:
        report.problem("label maps", problem)
    tables = data._counted_maps()
    shown = {label for table in tables for label in table.labels}
    novel = {number for fold in range(data.folds) for number in data.test_classes(fold)}
    absent = sorted(data.class_numbers - shown - novel)
    void = [name for table in tables for name in table.names if VOID in table.class_pixels(name)[0].keys() <= {0, VOID}]
    if void and not problems:
        verb = "label map holds" if len(void) == 1 else "label maps hold"
        report.note("label maps", remark("label_map_of_void", len(void), verb=verb, names=some(void, 3)))
    if absent and not problems:
        report.note("label maps", data._absence("class_of_no_fold_in_no_label_map", absent, tables))


def _check_copies(report: Report, data: Folder) -> None:
    """Report on images that are there under several names, or both for training and for tests."""
    listed = {path.name: set(data.candidates(part)) for part, path in data.present_lists.items()}

    def shown(name: str) -> str:
        return f"{name} ({', '.join(file for file, names in listed.items() if name in names)})"

    test, train = listed[data.list_files["val"].name], set(data.candidates("trn") if len(listed) > 1 else ())
    for found in copy_remarks(data, sorted(train | test), shown) + trained_remarks(data, test, train):
        report.note("images", found)


@AugmentedSettings.register(Folder)
class FolderAugmentedSettings(AugmentedSettings):
    """Smallest object that the augmented settings of the protocol fscs add, as the folder's `folds.yaml` states it."""

    data: Folder

    @property
    def threshold(self) -> float:
        return self.data.augment_threshold


KnownAbsence.register(Folder)(CompleteLabelMaps)


@OwnSets.register(Folder)
class FolderSets(OwnSets):
    """The support sets and groups of images that the folder's `folds.yaml` states."""

    data: Folder

    def named(self) -> tuple[tuple[str, ...], ...]:
        sets = self.data.named_supports
        listed = [*self.data.candidates("val"), *(self.training() or ())] if sets else []
        form = {composed(name): name for name in listed}  # lists may have names in another form of Unicode
        return tuple(tuple(form.get(name, name) for name in own) for own in sets)

    def training(self) -> Sequence[str] | None:
        is_there = "trn" in self.data.present_lists
        return self.data.candidates("trn") if is_there or self.data.names_training else None

    def group_of(self, name: str) -> str:
        return self.data.group_of(name)

    def apart(self, queries: Sequence[str], draws: Sequence[Mapping[int, Sequence[str]]]) -> list[str]:
        self.data.check_groups()
        return super().apart(queries, draws)


_EXPECTED = "a whole file is, for example:"
"""End of a message's first line; the example follows."""
_OLD_SAMPLING = {"listed": "sequential", "drawn": "class_first"}


def _example_lines() -> list[str]:
    return [f"  {line}" for line in EXAMPLE.splitlines()]


def _wrong(expected: str) -> PydanticCustomError:
    """Return an error that says of an entry what it is and what was expected."""
    return PydanticCustomError(PREDICATE, "{expected}", {"expected": expected})


def _number_names(classes: Any) -> dict[int, str]:
    """Turn a list of names into {number: name} from 1 and check numbers and names."""
    numbered = dict(enumerate(classes, start=1)) if isinstance(classes, list) else classes
    if not isinstance(numbered, dict) or not numbered:
        raise _wrong(f"is {classes!r}; expected a list of names or {{number: name}}")
    for number, name in numbered.items():
        if type(number) is not int or not 0 < number < VOID:
            raise _wrong(f"has the number {number!r}; expected whole numbers 1 to 254")
        if not isinstance(name, str):  # YAML reads a bare on, off, yes, no or 1 as something else
            raise _wrong(f"has the name {name!r}; expected text; put it in quotes")
        if not name.strip():
            raise _wrong(f"has an empty name for number {number}; expected text")
    numbered = {number: composed(name) for number, name in numbered.items()}
    if len(set(numbered.values())) < len(numbered):
        raise _wrong("has the same name twice; expected different names")
    if alike := two_alike(numbered.values()):
        raise _wrong("has the names {!r} and {!r}, which differ by case or spaces alone; expected one".format(*alike))
    return numbered


def _check_folds(folds: Any) -> Any:
    if not isinstance(folds, list) or not folds or not all(isinstance(fold, list) and fold for fold in folds):
        raise _wrong(f"is {folds!r}; expected one list of novel classes per fold")
    return folds


def _check_text(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise _wrong(f"is {text!r}; expected text that is not empty; put it in quotes")
    return text


def _check_name(name: Any) -> str:
    if fault := own_name_fault(_check_text(name), tuple(ATLAS_NAMES.values())):
        raise _wrong(f"is {name[:100]!r}, which {fault}; expected a name of its own, such as shapes")
    return str(name)


def _check_pixels(pixels: Any) -> int:
    if type(pixels) is not int or not 0 <= pixels <= MASK_PIXELS:
        raise _wrong(f"is {pixels!r}; expected a whole number, 0 to {MASK_PIXELS}")
    return pixels


def _check_share(share: Any) -> float:
    if type(share) not in (int, float) or not 0 <= share <= 1:
        raise _wrong(f"is {share!r}; expected a share from 0 to 1, like 0.07")
    return float(share)


def _new_sampling(sampling: Any) -> Any:
    return _OLD_SAMPLING.get(sampling, sampling) if isinstance(sampling, str) else sampling


Place = Annotated[str, BeforeValidator(lambda text: _check_text(text).replace("\\", "/"))]
"""A path below the description's folder, with either separator."""


def _named_sets(sets: Any) -> Any:
    """Turn a list of image names, or a list of such lists, into tuples of names without suffixes."""
    entries = [sets] if isinstance(sets, list) and sets and isinstance(sets[0], str) else sets
    if not isinstance(entries, list) or not entries:
        raise _wrong(f"is {sets!r}; expected a list of image names, or a list of such lists")
    named = tuple(_names(entry) for entry in entries)
    if len(lengths := {len(own) for own in named}) > 1:
        raise _wrong(f"has sets of {' and '.join(map(str, sorted(lengths)))} images; expected equally many in each")
    if twice := next((own for own in named if sum(set(own) == set(other) for other in named) > 1), None):
        raise _wrong(f"has the set {', '.join(twice)} twice; expected different sets")
    return named


def _names(entry: Any) -> tuple[str, ...]:
    if not isinstance(entry, list) or not entry or not all(isinstance(name, str) and name.strip() for name in entry):
        raise _wrong(f"has {entry!r}; expected a list of image names, in quotes if they are numbers")
    names = tuple(composed(name_in(name.strip())) for name in entry)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise _wrong(f"has {twice} twice in one list; expected each image once")
    return names


def _groups(groups: Any) -> dict[str, str] | Pattern[str]:
    """Turn lists of image names, {group: names}, or a pattern with one group into what tells an image's group."""
    if isinstance(groups, str):
        try:
            pattern = re.compile(groups)
        except re.error as error:
            raise _wrong(
                f"is {groups!r}, which is no pattern ({error}); expected one such as ^(patient[0-9]+)_"
            ) from error
        if pattern.groups != 1:
            raise _wrong(f"is {groups!r}; expected a pattern with one pair of brackets, such as ^(patient[0-9]+)_")
        return pattern
    listed = {str(number): own for number, own in enumerate(groups)} if isinstance(groups, list) else groups
    if not isinstance(listed, dict):
        raise _wrong(f"is {groups!r}; expected lists of image names, {{group: names}}, or a pattern")
    found: dict[str, str] = {}
    for group, own in listed.items():
        for name in _names(own):
            if name in found:
                raise _wrong(f"has {name} in two groups; expected each image in one")
            found[name] = f"group {group}"
    return found


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
            image of it. The old spelling is `query_rule: listed` or `drawn`.
        augment_threshold: share of an image that a further class must cover in the augmented settings.
        supports: support sets for a test with a fixed support set (fixed-supports.md §9), which replace drawn ones; the
            file has a list of image names, or a list of such lists.
        groups: {image: the patient, scene or object that it shows}, or a pattern that finds it in a name. A test with a
            fixed support set asks for no image whose group a support belongs to. The file may also have lists of names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: Annotated[str, BeforeValidator(_check_name)]
    classes: Annotated[dict[int, str], BeforeValidator(_number_names)]
    folds: Annotated[list[list[Any]], BeforeValidator(_check_folds)]
    images: Place = "JPEGImages"
    masks: Place = "SegmentationClassAug"
    train: Place = "ImageSets/Segmentation/train.txt"
    val: Place = "ImageSets/Segmentation/val.txt"
    min_pixels: Annotated[int, BeforeValidator(_check_pixels)] = 1
    query_sampling: Annotated[QuerySampling, BeforeValidator(_new_sampling)] = Field(
        default="sequential", validation_alias=AliasChoices("query_sampling", "query_rule")
    )
    augment_threshold: Annotated[float, BeforeValidator(_check_share)] = 0.07
    supports: Annotated[tuple[tuple[str, ...], ...], BeforeValidator(_named_sets)] = ()
    groups: Annotated[dict[str, str] | Pattern[str], BeforeValidator(_groups)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _number_folds(self) -> "FolderDescription":
        """Replace the names in `folds` by class numbers, ascending."""
        number_of = {name: number for number, name in self.classes.items()}
        for place, fold in enumerate(self.folds):
            fold = [composed(entry) if isinstance(entry, str) else entry for entry in fold]
            for entry in fold:
                if type(entry) not in (int, str) or (entry not in self.classes and entry not in number_of):
                    raise _wrong(f"folds has {entry!r}; expected names or numbers of its classes")
            self.folds[place] = sorted(entry if entry in self.classes else number_of[entry] for entry in fold)
        flat = [number for fold in self.folds for number in fold]
        if len(set(flat)) < len(flat):
            raise _wrong("folds has a class twice; expected each class in one fold at most")
        return self


def read_description(path: Path) -> FolderDescription:
    """Read a `folds.yaml`.

    Raises:
        DataError: the file is absent, not YAML, or an entry is missing, unknown or wrong; names file, key, what was
            found and what was expected.
    """
    try:
        entries = load_yaml(path)
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist; put a file there that describes the folder; {_EXPECTED}", *_example_lines()
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not YAML ({error}); {_EXPECTED}", *_example_lines()) from error
    if not isinstance(entries, dict):
        raise DataError(f"{path} holds {type(entries).__name__}; {_EXPECTED}", *_example_lines())
    if {"query_rule", "query_sampling"} <= entries.keys():
        raise DataError(
            f"{path} has query_rule, the old spelling, beside query_sampling; expected one; remove query_rule"
        )
    try:
        return FolderDescription(**{str(key): value for key, value in entries.items()})
    except ValidationError as error:
        problem = first_problem(error, entries, list(FolderDescription.model_fields))
        raise DataError(f"{path}: {problem}; {_EXPECTED}", *_example_lines()) from error
