"""FSS-1000: 1000 classes of ten images each, in splits of 520, 240 and 240 classes instead of folds."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import DERIVED, Pair, PairList, Part, QuerySampling
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.data.source import missing
from fsbench.datamodules.datasets.fss1000.lists import PARTS, SIZES, Splits, draw_splits, read_splits
from fsbench.datamodules.indexes.binary_masks import BinaryMasks
from fsbench.datamodules.lists.official import default_lists

INNER_FOLDERS = ("FSS-1000", "fewshot_data", "fewshot_data/fewshot_data")
IMAGES_PER_CLASS = 10
_PART_OF = {"trn": "trn", "held_out": "val", "val": "test"}


class Fss1000(BinaryMasks):
    """FSS-1000 (fss-protocol §1, §2, §3.3). One fold; a name is `class/number`, a class number its rank in its split,
    after the classes of the splits before: 1 to 520 train, 521 to 760 validation, 761 to 1000 test.

    The suite tests on the test classes (list "val") and may choose checkpoints on the validation
    classes (list "held_out").

    Args:
        root: Folder with a folder for each class, which holds 1.jpg, 1.png, …, 10.jpg, 10.png; or a folder that holds
            it as `FSS-1000` or `fewshot_data`.
        lists: Folders with the released splits as `fss/{trn,val,test}.txt`. None takes the folder `lists` in `root`
            where there is one. Without them, splits are drawn from the folders that exist: figures on those compare
            with no published ones, whose test classes are the data set authors' own choice.
        allow_unverified_lists: Use lists whose checksum is not the official one; the record says so.
        allow_missing: With lists: use what is there of their classes and images, and have the record say so.
        test_only: Without lists: all classes are test classes. For samples with few classes.
    """

    name = "fss1000"
    folds = 1
    classes_of_fold = 240
    has_published_protocol = True
    query_sampling: QuerySampling = "sequential"
    list_order = "class"

    def __init__(
        self,
        root: str,
        lists: list[str] | None = None,
        allow_unverified_lists: bool = False,
        allow_missing: bool = False,
        test_only: bool = False,
    ):
        self.root = class_folder(Path(root).expanduser())
        self.lists = default_lists(lists, Path(root).expanduser(), self.root)
        self._files = class_files(self.root)
        released = read_splits(self.lists, allow_unverified_lists)
        self._asked_for_derived = test_only or lists == []
        if released and test_only:
            raise SettingsError("test_only is for data without lists; leave it out, or set lists to []")
        if released:
            self.splits = released
            self._origin = self._check_complete(allow_missing)
        else:
            self.splits = (
                Splits((), (), tuple(sorted(self._files)), "derived") if test_only else draw_splits([*self._files])
            )
            self._origin = self.splits.origin
        self.class_names = tuple(name for part in PARTS for name in getattr(self.splits, part))
        self._number_of = {name: number for number, name in enumerate(self.class_names, start=1)}

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return self._present("test")

    def val_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return self._present("val")

    def train_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return self._present("trn")

    def candidates(self, part: Part) -> Sequence[str]:
        """Return the images of all classes of the part, class by class."""
        return [name for name, _ in self.listed_pairs(part)]

    def listed_pairs(self, part: Part) -> Iterable[Pair]:
        """Yield every image of the part with its class, however small the object; no mask is opened."""
        for number in self._present(_PART_OF[part]):
            name = self.class_names[number - 1]
            for image in sorted(self._files[name]):
                yield f"{name}/{image}", number

    def has_published_list(self, split: str, fold: int) -> bool:
        return not self._asked_for_derived and split not in SIZE_BINS

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        return DERIVED if split in SIZE_BINS else self._origin

    def support_images(self, pairs: PairList) -> Mapping[int, Sequence[str]]:
        """Supports are drawn by number from 1 to 10 (fss-protocol §5.3), so in numeric order."""
        return {
            number: tuple(sorted(names, key=lambda name: int(name.rpartition("/")[2])))
            for number, names in pairs.images_of.items()
        }

    def image_path(self, name: str) -> Path:
        return self.root / f"{name}.jpg"

    def label_file(self, name: str) -> Path:
        return self.root / f"{name}.png"

    def class_number(self, name: str) -> int:
        return self._number_of[name.rpartition("/")[0]]

    def _present(self, part: str) -> list[int]:
        """Numbers of the classes of a part that have images."""
        return [n for n in self.splits.numbers(part) if self._files.get(self.class_names[n - 1])]

    def _check_complete(self, allow_missing: bool) -> str:
        """The origin of the lists. Raises DataError naming absent classes and images unless they may be missing."""
        listed = [name for part in PARTS for name in getattr(self.splits, part)]
        numbers = range(1, IMAGES_PER_CLASS + 1)
        absent = sorted(name for name in listed if not self._files.get(name))
        short = [
            f"{name}/{number}"
            for name in sorted(set(listed).difference(absent))
            for number in numbers
            if number not in self._files[name]
        ]
        strange = [f"{name}/{n}" for name in listed for n in self._files.get(name, ()) if n not in numbers]
        if strange:
            raise DataError(f"{self.root} has the image {min(strange)}; expected the numbers 1 to 10; take it away")
        if not absent and not short:
            return self.splits.origin
        if not allow_missing:
            raise missing(
                f"{self.root} lacks {len(absent)} of {sum(SIZES.values())} class folders{_some(absent)} and "
                f"{len(short)} images of the others{_some(short)}; expected all; complete it, or set allow_missing to "
                "use what is there, which the record will say",
                __package__,
            )
        if len(absent) == len(listed):
            raise DataError(
                f"{self.root} has no folder of a listed class; expected folders such as {self.splits.test[0]}"
            )
        return f"{self.splits.origin}, incomplete"


def _some(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:5])}{', …' if len(names) > 5 else ''})" if names else ""


def class_folder(root: Path) -> Path:
    if not root.is_dir():
        raise missing(f"the FSS-1000 folder {root} does not exist; expected a folder for each class in it", __package__)
    for folder in (root, *(root / inner for inner in INNER_FOLDERS)):
        if any(folder.glob("*/[0-9]*.jpg")):
            return folder
    raise missing(f"{root} has no class folders; expected <class>/1.jpg and <class>/1.png, …", __package__)


def class_files(root: Path) -> dict[str, frozenset[int]]:
    """Class name -> numbers of its images; raises DataError for photos and masks without each other."""
    files: dict[str, frozenset[int]] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        entries = {path.name for path in folder.iterdir()}
        photos, masks = (
            {e[:-4] for e in entries if e.endswith(suffix) and e[:-4].isdigit()} for suffix in (".jpg", ".png")
        )
        for number in sorted(photos ^ masks):
            there, lacking = (".jpg", ".png") if number in photos else (".png", ".jpg")
            raise DataError(
                f"{folder / number}{there} has no {lacking} beside it; expected a photo and a mask for each number; "
                "fetch the missing one"
            )
        if photos:
            files[folder.name] = frozenset(map(int, photos))
    return files
