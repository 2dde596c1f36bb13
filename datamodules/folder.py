"""Any data set of photos and label PNGs in the VOC layout, described by a `folds.yaml` beside them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from datamodules.mask_folder import MaskFolder, read_names
from datamodules.pfenet_lists import pairs_by_pixels
from fsbench.annotations import SIZE_BINS, VOID, PairList
from fsbench.errors import DataError

DESCRIPTION = "folds.yaml"
EXAMPLE = """\
name: shapes
classes: [circle, square, star, ring]     # numbers 1, 2, … in the label maps; or {1: circle, 5: square}
folds: [[circle, square], [star, ring]]   # novel classes of fold 0, fold 1, …
images: JPEGImages
masks: SegmentationClassAug
train: ImageSets/Segmentation/train.txt
val: ImageSets/Segmentation/val.txt"""
_EXPECTED = "expected, for example:\n  " + EXAMPLE.replace("\n", "\n  ")
_DEFAULTS: dict[str, Any] = {
    "images": "JPEGImages",
    "masks": "SegmentationClassAug",
    "train": "ImageSets/Segmentation/train.txt",
    "val": "ImageSets/Segmentation/val.txt",
    "min_pixels": 1,
    "query_rule": "listed",
    "augment_threshold": 0.07,
}


class Folder(MaskFolder):
    """A folder of photos and label PNGs with a `folds.yaml`.

    A pair is every (image, class) with at least `min_pixels` pixels of the class. The validation list is sorted by
    (name, class), the training list by (class, name), as PASCAL's official lists are; the lists for PFENet-like
    programs keep the order of the list files.

    Args:
        root: Folder that holds `folds.yaml`; the paths in it are relative to this folder.
    """

    def __init__(self, root: str):
        self.root = Path(root).expanduser()
        settings = _read_description(self.root / DESCRIPTION)
        self.name = str(settings["name"])
        classes = _numbered(settings["classes"], self.root / DESCRIPTION)
        # numbers that the description leaves out have no name and belong to no fold
        self.class_names = tuple(classes.get(number, "") for number in range(1, max(classes) + 1))
        self._folds = _fold_numbers(settings["folds"], classes, self.root / DESCRIPTION)
        self.folds = len(self._folds)
        self.min_pixels = int(settings["min_pixels"])
        self.query_rule: Literal["listed", "drawn"] = settings["query_rule"]
        self.augment_threshold = float(settings["augment_threshold"])
        self._list_files = {"trn": self.root / settings["train"], "val": self.root / settings["val"]}
        super().__init__(self.root / settings["images"], self.root / settings["masks"], classes)
        for folder in (self.image_folder, self.label_folder):
            if not folder.is_dir():
                raise DataError(
                    f"{folder} does not exist; expected the folder that {self.root / DESCRIPTION} names; correct the "
                    "path there or put the files in place"
                )

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return self._folds[fold]

    def train_classes(self, fold: int) -> list[int]:
        return sorted(self.class_numbers.difference(self.test_classes(fold)))

    def make_list(self, split: str, fold: int) -> PairList:
        if split in SIZE_BINS:
            return self.size_list(split, fold)
        part = split.removeprefix("pfenet-")
        listed = read_names(self._list_files[part])
        names = sorted(listed)
        self.require_files(names, self._list_files[part])
        table = self.counted(names)
        wanted = self.train_classes(fold) if part == "trn" else self.test_classes(fold)
        if split != part:
            unwanted = self.test_classes(fold) if part == "trn" else []
            return PairList(pairs_by_pixels(listed, wanted, unwanted, table.class_pixels, self.min_pixels), "derived")
        pairs = [
            (name, number)
            for name in names
            for number, pixels in table.class_pixels(name)[0].items()
            if number in wanted and pixels >= self.min_pixels
        ]
        if split == "trn":
            pairs.sort(key=lambda pair: (pair[1], pair[0]))
        return PairList(tuple(pairs), origin="derived")

    def count_pixels(self, split: str, names: Sequence[str]) -> None:
        pass  # `make_list` has counted the whole split


def _read_description(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        raise DataError(f"{path} does not exist; put a file there that describes the folder; {_EXPECTED}")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not YAML ({' '.join(str(error).split())}); {_EXPECTED}") from error
    if not isinstance(settings, dict):
        raise DataError(f"{path} holds {type(settings).__name__}; {_EXPECTED}")
    for key in ("name", "classes", "folds"):
        if key not in settings:
            raise DataError(f"{path} has no entry {key!r}; {_EXPECTED}")
    for key in settings:
        if key not in {"name", "classes", "folds", *_DEFAULTS}:
            raise DataError(f"{path} has the unknown entry {key!r}; {_EXPECTED}")
    settings = _DEFAULTS | settings
    for key, default in _DEFAULTS.items():
        expected = (int, float) if isinstance(default, int | float) else (str,)
        if not isinstance(settings[key], expected):
            raise DataError(f"{key} in {path} is {settings[key]!r}; expected a value like {default!r}")
    if settings["query_rule"] not in ("listed", "drawn"):
        raise DataError(f"query_rule in {path} is {settings['query_rule']!r}; expected listed or drawn")
    return settings


def _numbered(classes: Any, path: Path) -> dict[int, str]:
    """The `classes` entry as {number: name}."""
    numbered = dict(enumerate(classes, start=1)) if isinstance(classes, list) else classes
    if not isinstance(numbered, dict) or not numbered:
        raise DataError(f"classes in {path} is {classes!r}; expected a list of names or {{number: name}}")
    for number in numbered:
        if not isinstance(number, int) or not 0 < number < VOID:
            raise DataError(f"classes in {path} has the number {number!r}; expected whole numbers 1 to 254")
        if not isinstance(numbered[number], str):  # YAML reads a bare on, off, yes, no or 1 as something else
            raise DataError(f"classes in {path} has the name {numbered[number]!r}; expected text; put it in quotes")
    if len(set(numbered.values())) < len(numbered):
        raise DataError(f"classes in {path} has the same name twice; expected different names")
    return numbered


def _fold_numbers(folds: Any, classes: dict[int, str], path: Path) -> list[list[int]]:
    """The `folds` entry as lists of class numbers, ascending."""
    if not isinstance(folds, list) or not folds or not all(isinstance(fold, list) and fold for fold in folds):
        raise DataError(f"folds in {path} is {folds!r}; expected one list of novel classes per fold")
    number_of = {name: number for number, name in classes.items()}
    numbers = []
    for fold in folds:
        for entry in fold:
            if type(entry) not in (int, str) or (entry not in classes and entry not in number_of):
                raise DataError(f"folds in {path} has {entry!r}; expected names or numbers of its classes")
        numbers.append(sorted(entry if entry in classes else number_of[entry] for entry in fold))
    flat = [number for fold in numbers for number in fold]
    if len(set(flat)) < len(flat):
        raise DataError(f"folds in {path} has a class twice; expected each class in one fold at most")
    return numbers
