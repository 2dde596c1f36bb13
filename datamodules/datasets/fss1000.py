"""FSS-1000: 1000 classes of ten images each, in splits of 520, 240 and 240 classes instead of folds."""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import Pair, PairList, Part, QuerySampling
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.data.image_io import read_shades
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.check.media import check_files
from fsbench.datamodules.check.report import Report, some
from fsbench.datamodules.kinds.binary_masks import BinaryMasks
from fsbench.datamodules.kinds.find_folder import find_folder, require_folder
from fsbench.datamodules.lists.official import DERIVED, OFFICIAL, UNVERIFIED, default_lists, list_folders, missing_list
from fsbench.datamodules.lists.text_file import read_list
from fsbench.datamodules.prepare.folders import make_folder
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.list_files import provide_lists
from fsbench.protocols.episode_rules.image_lists import ImageLists
from fsbench.protocols.episode_rules.pair_lists import pair_list

INNER_FOLDERS = ("FSS-1000", "fewshot_data", "fewshot_data/fewshot_data")
PHOTOS = "*/[0-9]*.jpg"
CLASSES, IMAGES_PER_CLASS = 1000, 10
PARTS = ("trn", "val", "test")
SIZES = {"trn": 520, "val": 240, "test": 240}
CHECKSUMS = {
    "trn": "4e236fa8eda2543a988f734f8ea728a6f321bb426ec79cc121c5f4f115f41f10",
    "val": "bae6fbf5aa020ce4e589b76c51da21cc9b77970877579612e0a0d3c4b43688b0",
    "test": "0efbe526c0dd445b580de07cae179df51fffc91255599e96b13d8b16e7e04c0c",
}
"""sha256 of the sorted names, each with a newline (fss-protocol §3.3)."""
_PART_OF = {"trn": "trn", "held_out": "val", "val": "test"}
ARCHIVE = ByHand(
    "FSS-1000",
    tuple(
        f"{stem}{suffix}"
        for stem in ("fewshot_data", "FSS-1000", "fss-1000", "fss1000", "FSS1000")
        for suffix in (".zip", ".tar.gz", ".tgz", ".tar")
    ),
)


@dataclass(frozen=True)
class Splits:
    """Class names of training, validation and test, each in byte order, and where the division of classes comes from.

    The data set's authors chose the test classes, and HSNet's authors divided the other classes at random. So the
    division cannot be derived from the images (fss-protocol §3.3).
    """

    trn: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    origin: str

    @property
    def names(self) -> tuple[str, ...]:
        return self.trn + self.val + self.test

    def numbers(self, part: str) -> range:
        """Return the class numbers of a part: ranks from 1, training before validation before test."""
        before = sum(len(getattr(self, name)) for name in PARTS[: PARTS.index(part)])
        return range(before + 1, before + 1 + len(getattr(self, part)))


class Fss1000(BinaryMasks):
    """FSS-1000 (fss-protocol §1 to §3): one fold, and image names `class/number`.

    A class number is the rank of the class in its split, after the classes of the splits before: 1 to 520 train, 521 to
    760 validation, 761 to 1000 test. fsbench tests on the test classes (list "val") and may choose checkpoints on the
    validation classes (list "held_out").

    Args:
        root: Folder with a folder for each class, which holds 1.jpg, 1.png, …, 10.jpg, 10.png; or a folder that holds
            this one as `FSS-1000` or `fewshot_data`.
        lists: Folders with the released splits as `fss/{trn,val,test}.txt`. None takes the folder `lists` in `root` if
            it exists. Without released splits, classes are divided at random: scores are then not comparable with
            published ones, whose test classes the data set's authors chose.
        allow_unverified_lists: Use lists whose checksum is not the official one; the run's record states this.
        allow_missing: If lists are used: accept that listed classes or images are absent; the run's record states this.
        test_only: If no lists are used: make all classes test classes, for samples with few classes.
    """

    name = "fss1000"
    folds = 1
    classes_of_fold = 240
    has_published_protocol = True
    query_sampling: QuerySampling = "sequential"
    list_order = "class"
    source = Source(
        dataset="fss1000",
        page="https://github.com/HKUSTCV/FSS-1000",
        by_hand=(ARCHIVE,),
        terms="a browser gets it from the Google Drive that the page links to",
        holds=("<1000 classes>/<1 to 10>.jpg", "<1000 classes>/<1 to 10>.png"),
        lists="fss1000",
    )

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
        drawn = Splits((), (), tuple(sorted(self._files)), DERIVED) if test_only else draw_splits([*self._files])
        self.splits = released or drawn
        self.class_names = self.splits.names
        self._origin = self._check_complete(allow_missing) if released else DERIVED
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
        """Return the names of the images of all classes of a part, class by class."""
        return [name for name, _ in self.listed_pairs(part)]

    def listed_pairs(self, part: Part) -> Iterable[Pair]:
        """Yield every image of the part with its class, whatever the object's size; no mask is read."""
        for number in self._present(_PART_OF[part]):
            name = self.class_names[number - 1]
            for image in sorted(self._files[name]):
                yield f"{name}/{image}", number

    def has_published_list(self, split: str, fold: int) -> bool:
        return not self._asked_for_derived and split not in SIZE_BINS

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        return DERIVED if split in SIZE_BINS else self._origin

    def support_images(self, pairs: PairList) -> Mapping[int, Sequence[str]]:
        """Return {class number: its images in numeric order 1 to 10, in which supports are drawn}."""
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
        return [n for n in self.splits.numbers(part) if self.class_names[n - 1] in self._files]

    def _check_complete(self, allow_missing: bool) -> str:
        """The origin of the lists. Raises DataError naming absent classes and images unless they may be missing."""
        if strange := [
            f"{name}/{n}"
            for name in self.class_names
            for n in self._files.get(name, ())
            if not 1 <= n <= IMAGES_PER_CLASS
        ]:
            raise DataError(f"{self.root} has the image {min(strange)}; expected the numbers 1 to 10; take it away")
        absent = sorted(set(self.class_names).difference(self._files))
        short = missing_images({name: self._files[name] for name in self.class_names if name in self._files})
        if not absent and not short:
            return self.splits.origin
        if not allow_missing:
            shown = [f" ({some(names)})" if names else "" for names in (absent, short)]
            raise self.source.missing(
                f"{self.root} lacks {len(absent)} of {CLASSES} class folders{shown[0]} and "
                f"{len(short)} images of the others{shown[1]}; expected all; complete it, or set allow_missing to "
                "use what is there; the record will say so"
            )
        return f"{self.splits.origin}, incomplete"

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Unpack FSS-1000's archive unless class folders are present, and add lists; return remarks."""

        def check_structure(making: Path, archive: Path) -> None:
            classes = {folder.name: set(map(int, set.intersection(*_numbers(folder)))) for folder in making.iterdir()}
            short = missing_images(classes)
            example = f", and {len(short)} images lack: {some(short)}" if short else ""
            is_complete, found = len(classes) == CLASSES and not short, f"{len(classes)} class folders{example}"
            job.require_complete(archive, is_complete, bool(classes), found, f"{CLASSES} with 1 to {IMAGES_PER_CLASS}")

        remarks = provide_lists(job, cls.name)
        if find_folder(job.root, INNER_FOLDERS, (PHOTOS,)) is None:
            remarks += make_folder(job, cls.source, ARCHIVE, job.root / "FSS-1000", _image, check_structure)
        return remarks

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        folder = report.attempt("folders", lambda: class_folder(root))
        files = report.attempt("folders", lambda: class_files(folder)) if folder else None
        if folder is None or files is None:
            return
        report.ok("folders", str(folder))
        report.count("classes", len(files), CLASSES, "folders with images")
        if missing := missing_images(files):
            report.differs(
                "images", f"{len(missing)} missing: {some(missing)}; the official data have 1 to 10 of every class"
            )
        names = [f"{name}/{n}" for name, present in sorted(files.items()) for n in sorted(present)]

        def mask(name: str) -> tuple[tuple[int, ...], Path]:
            file = folder / f"{name}.png"
            return read_shades(file).shape[:2], file

        check_files(report, "photos, masks", names, lambda name: folder / f"{name}.jpg", mask)
        cls._check_splits(report, root, set(files), default_lists(lists, root, folder))

    @classmethod
    def _check_splits(cls, report: Report, root: Path, present: set[str], lists: list[str]) -> None:
        """Report whether `present` are the classes of the official splits, and what an evaluation gets."""
        splits = report.attempt("splits", lambda: read_splits(lists))
        if splits:
            report.ok("splits", f"checksums of the {len(PARTS)} lists are right")
            if unlisted := sorted(present.difference(splits.names)):
                report.differs("classes", f"{len(unlisted)} folders of no listed class: {some(unlisted)}")
        elif not lists:
            report.differs("splits", "no lists given: splits are drawn; the official ones cannot be derived")
        data = report.attempt("lists", lambda: cls(str(root), lists)) if splits or not lists else None
        for split, part in _PART_OF.items():
            if data and data.splits.numbers(part):
                with report.errors(f"list {part}"):
                    pairs = pair_list(data, split, 0)
                    text = f"items of {len(pairs.images_of)} classes"
                    if pairs.origin == OFFICIAL:
                        report.count(f"list {part}", len(pairs.pairs), IMAGES_PER_CLASS * SIZES[part], text)
                    else:
                        report.differs(f"list {part}", f"{len(pairs.pairs)} {text}, {pairs.origin}")


@ImageLists.register(Fss1000)
class NoImages(ImageLists):
    def image_order(self, part: Part) -> Sequence[str]:
        raise SettingsError(f"fss1000 has no lists of PFENet-like programs; split pfenet-{part} is for PASCAL and COCO")


def class_folder(root: Path) -> Path:
    """Return the folder, `root` or below it, that has one folder for each class."""
    expected = "a folder for each class, <class>/1.jpg and <class>/1.png, …"
    return require_folder(Fss1000.source, root, INNER_FOLDERS, (PHOTOS,), expected)


def class_files(root: Path) -> dict[str, frozenset[int]]:
    """Return {class name: numbers of its images} of the classes that have some."""
    files = {}
    for folder in sorted(root.iterdir()):
        photos, masks = _numbers(folder)
        if lone := photos ^ masks:
            there, lacking = ("jpg", "png") if min(lone) in photos else ("png", "jpg")
            raise DataError(
                f"{folder / min(lone)}.{there} has no .{lacking} beside it; expected a photo and a mask for each "
                "number; fetch the missing one"
            )
        if photos:
            files[folder.name] = frozenset(map(int, photos))
    return files


def _numbers(folder: Path) -> tuple[set[str], set[str]]:
    """Return the numbers that the photos, and that the masks, of a class have for names."""
    names = [path.name for path in folder.glob("*.*")]
    photos, masks = ({name[:-4] for name in names if name.endswith(suffix)} for suffix in (".jpg", ".png"))
    return {name for name in photos if name.isdigit()}, {name for name in masks if name.isdigit()}


def missing_images(files: Mapping[str, Collection[int]]) -> list[str]:
    """Return the images `<class>/<number>` of 1 to 10 that the classes lack."""
    numbers = range(1, IMAGES_PER_CLASS + 1)
    return [f"{name}/{number}" for name in sorted(files) for number in numbers if number not in files[name]]


def names_sha256(names: Sequence[str]) -> str:
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()


def read_splits(folders: Sequence[str | Path], allow_unverified: bool = False) -> Splits | None:
    """Read the published class splits `<folder>/fss/{trn,val,test}.txt`; None if no folder has them."""
    places = list_folders(folders, "fss1000", "fss")
    if not places:
        return None
    parts = {part: _names(places, part) for part in PARTS}
    splits = Splits(**parts, origin=OFFICIAL)
    if twice := [name for name, times in Counter(splits.names).items() if times > 1]:
        raise DataError(f"the class {twice[0]} is twice in the lists of {places[0] / 'fss'}; expected each class once")
    altered = [part for part in PARTS if names_sha256(parts[part]) != CHECKSUMS[part]]
    if altered and not allow_unverified:
        part = altered[0]
        raise missing_list(
            f"list {places[0] / 'fss' / part}.txt was altered: found {len(parts[part])} classes, sha256 "
            f"{names_sha256(parts[part])}; expected {SIZES[part]}, sha256 {CHECKSUMS[part]}; fetch the authors' file "
            "again, or set allow_unverified_lists to use it and have the record say so",
            "fss1000",
        )
    return replace(splits, origin=UNVERIFIED) if altered else splits


def draw_splits(classes: Sequence[str]) -> Splits:
    """Split `classes` by fsbench's own rule: 24 % test and 24 % validation, with at least one test class.

    The sorted names in the order of `RandomState(0).permutation` give the test, then the validation classes.
    """
    ordered = sorted(classes)
    order = np.random.RandomState(0).permutation(len(ordered))
    test = max(1, round(0.24 * len(ordered)))
    val = round(0.24 * len(ordered)) if len(ordered) > 2 else 0
    return Splits(
        test=tuple(sorted(ordered[i] for i in order[:test])),
        val=tuple(sorted(ordered[i] for i in order[test : test + val])),
        trn=tuple(sorted(ordered[i] for i in order[test + val :])),
        origin=DERIVED,
    )


def _names(places: Sequence[Path], part: str) -> tuple[str, ...]:
    paths = [place / "fss" / f"{part}.txt" for place in places]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise missing_list(f"{paths[0]} does not exist; expected the lists trn.txt, val.txt and test.txt", "fss1000")
    return tuple(sorted(line.strip() for line in read_list(path).splitlines() if line.strip()))


def _image(name: PurePosixPath) -> str | None:
    wanted = len(name.parts) >= 2 and "__MACOSX" not in name.parts and re.fullmatch(r"\d+\.(jpg|png)", name.name)
    return f"{name.parent.name}/{name.name}" if wanted else None
