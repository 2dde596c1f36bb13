"""ISIC 2018 Task 1: skin lesions of three kinds (cd-fss-protocol §2.2)."""

import re
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, Self

from fsbench.base.errors import DataError
from fsbench.base.files import read_text
from fsbench.data.dataset import DERIVED, Pair, PairList
from fsbench.data.source import Archive, Source
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.kinds.binary_masks import ListedMasks, file_stem
from fsbench.datamodules.kinds.find_folder import find_folder
from fsbench.datamodules.lists.text_file import read_rows
from fsbench.datamodules.prepare.folders import make_folder
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.making import has_content

IMAGES, MASKS = "ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"
CLASS_LIST = Path(__file__).with_name("isic.classes.txt")
"""The class of each of the 2594 images, a line "id class" each, in the order of the list that PATNet publishes."""
FOLD_LIST = Path(__file__).with_name("isic.folds.csv.gz")
"""Class and fold, from 1, of each image: the folds that FoB publishes (primebo1/FoB_SAM, Apache-2.0; skin-ds.md §1)."""

Numbering = Literal["ifa", "dr_adapter", "gfsam"]
"""Programs that number the folders, each in its own way; PATNet's and ABCDFSS's numbers are not stated."""
NUMBERINGS: dict[Numbering, tuple[str, ...]] = {
    "ifa": ("nevus", "seborrheic_keratosis", "melanoma"),
    "dr_adapter": ("seborrheic_keratosis", "nevus", "melanoma"),
    "gfsam": ("nevus", "melanoma", "seborrheic_keratosis"),
}


class Isic(ListedMasks):
    """ISIC 2018 Task 1, with one folder for each kind of lesion.

    Args:
        root: Folder with `ISIC2018_Task1-2_Training_Input/<1 to 3>/<id>.jpg` and
            `ISIC2018_Task1_Training_GroundTruth/<id>_segmentation.png`; or a folder that holds this one as `ISIC`.
        numbering: Whose numbering of the kinds of lesions the folders 1 to 3 have (IFA's, DR-Adapter's or GF-SAM's);
            the order of the classes follows it.
    """

    name = "isic"
    classes_of_fold = 3
    inner = ("ISIC",)
    mark = IMAGES
    folders = tuple(f"{IMAGES}/{number}" for number in (1, 2, 3))
    suffix = "jpg"
    listed = 2594
    listed_of: ClassVar[Mapping[str, int]] = {"nevus": 1867, "melanoma": 519, "seborrheic_keratosis": 208}
    source = Source(
        archives=(
            Archive(
                "https://isic-challenge-data.s3.amazonaws.com/2018/ISIC2018_Task1-2_Training_Input.zip",
                None,  # none is published
            ),
            Archive(
                "https://isic-challenge-data.s3.amazonaws.com/2018/ISIC2018_Task1_Training_GroundTruth.zip",
                None,  # none is published
            ),
        ),
        instructions="""\
`fsbench data prepare isic --root <root>` fetches the archives of the training part of Task 1 and arranges them, or
takes them from a folder with --from DIR. They are on the page https://challenge.isic-archive.com/data, which states
the licence of each (its data are for non-commercial use unless it says otherwise):
  ISIC2018_Task1-2_Training_Input.zip   ISIC2018_Task1_Training_GroundTruth.zip
<root> then holds
  ISIC2018_Task1-2_Training_Input/<1 to 3>/<id>.jpg   ISIC2018_Task1_Training_GroundTruth/<id>_segmentation.png
with nevi in folder 1, seborrheic keratoses in 2 and melanomas in 3, as IFA numbers them.
""",
    )

    def __init__(self, root: str, numbering: Numbering = "ifa"):
        self.class_names = NUMBERINGS[numbering]
        self.numbering = numbering
        super().__init__(root)

    def label_file(self, name: str) -> Path:
        return self.root / mask_name(name)

    def list_names(self) -> Mapping[int, tuple[str, ...]]:
        """Return {class number: names of its images}.

        Raises:
            DataError: a folder holds another kind of lesion than its number stands for.
        """
        names = super().list_names()
        for number, kind in enumerate(NUMBERINGS[self.numbering], start=1):
            other = next((name for name in names[number] if lesion_classes().get(file_stem(name), kind) != kind), None)
            if other is not None:
                raise DataError(
                    f"{self.root / other} is a {lesion_classes()[file_stem(other)]}; expected a {kind} in folder "
                    f"{number} of the numbering {self.numbering}; set --data.dataset.numbering to that of the program "
                    f"that made the folders: {', '.join(NUMBERINGS)}"
                )
        return names

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Unpack ISIC's archives (from `--from`, or downloaded): photos into folders 1 to 3 as IFA's, masks into one.

        Returns:
            Remarks for the user, one sentence each.

        Raises:
            DataError: an archive is not available, or lacks listed images.
        """

        def check_complete(making: Path, archive: Path) -> None:
            found = sum(path.is_file() for path in making.rglob("*"))
            words = f"files of {found} listed images"
            job.require_complete(archive, found == Isic.listed, found > 0, words, str(Isic.listed))

        remarks = []
        for folder, place in ((IMAGES, _image), (MASKS, _mask)):
            if not has_content(job.root / folder):
                archive = Isic.source.archive(f"{folder}.zip")
                remarks += make_folder(job, Isic.source, archive, job.root / folder, place, check_complete)
        return remarks

    @classmethod
    def detect(cls, root: Path) -> Self:
        return cls(str(root), numbering_of(root))

    def report_more(self, report: Report) -> None:
        report.ok("numbering", f"{self.numbering}: {', '.join(NUMBERINGS[self.numbering])}")


class IsicOne(Isic):
    """The images of `Isic` as one class: nevi (72 %), melanomas and keratoses together.

    Args:
        root: folder of the images and masks, as for `Isic`.
        numbering: whose numbering of lesions the folders have, as for `Isic`.
    """

    name = "isic_one"
    classes_of_fold = 1
    same_classes_as: ClassVar[tuple[str, ...]] = (Isic.name,)
    source = Source(
        instructions="""\
Its folder is that of isic: fsbench data prepare isic --root <root>, from https://challenge.isic-archive.com/data,
which states the licence.
"""
    )

    def __init__(self, root: str, numbering: Numbering = "ifa"):
        super().__init__(root, numbering)
        self.class_names = ("lesion",)

    def list_names(self) -> Mapping[int, tuple[str, ...]]:
        """Return {1: names of all images}, folder after folder."""
        return {1: tuple(name for names in super().list_names().values() for name in names)}

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        """Report on the folder, which is the same for one class as for three."""
        Isic.check(report, root, lists)


class IsicFolds(Isic):
    """The images of `Isic` in the five folds of FoB, each with three kinds of lesions (skin-ds.md §1).

    The folds are of images: a test of fold 0 is about the images of FoB's fold 1, of all kinds.

    Args:
        root: folder of the images and masks, as for `Isic`.
        numbering: whose numbering of lesions the folders have, as for `Isic`.
    """

    name = "isic_folds"
    folds = 5
    same_classes_as: ClassVar[tuple[str, ...]] = (Isic.name,)
    fold_list: ClassVar[Path] = FOLD_LIST
    source = Source(
        instructions="""\
Its folder is that of isic: fsbench data prepare isic_folds --root <root>, from
https://challenge.isic-archive.com/data, which states the licence.
"""
    )

    def __init__(self, root: str, numbering: Numbering = "ifa"):
        super().__init__(root, numbering)
        self.class_names = tuple(sorted(NUMBERINGS[numbering]))

    def list_names(self) -> Mapping[int, tuple[str, ...]]:
        """Return {class number: names of its images, ascending}; the classes are in the order of their names."""
        of_folder = super().list_names()
        kinds = NUMBERINGS[self.numbering]
        return {number: of_folder[kinds.index(kind) + 1] for number, kind in enumerate(self.class_names, 1)}

    @cached_property
    def _fold_of(self) -> Mapping[str, int]:
        """{image id: number of its fold, from 0}."""
        return {row["id"]: int(row["fold"]) - 1 for row in read_rows(self.fold_list, "id")}

    def released_pairs(self, split: str, fold: int) -> PairList | None:
        """Return the images of a fold that are here, class after class, for the test; None for other splits."""
        if split != "val":
            return None
        of_id = {file_stem(name): (name, number) for number, names in self.names.items() for name in names}
        wanted = [name for name, own in self._fold_of.items() if own == fold]
        pairs: list[Pair] = sorted(
            (of_id[name] for name in wanted if name in of_id), key=lambda pair: (pair[1], pair[0])
        )
        return PairList(tuple(pairs), "official" if len(pairs) == len(wanted) else DERIVED)

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        """Report on the folder, which is the same with and without folds."""
        Isic.check(report, root, lists)


def mask_name(name: str) -> str:
    """Return the path of the mask of the image `name`."""
    return f"{MASKS}/{file_stem(name)}_segmentation.png"


@cache
def lesion_classes() -> Mapping[str, str]:
    """Return {image id: kind of lesion} for the 2594 images, in the order of the published list."""
    lines = read_text(CLASS_LIST, "list").splitlines()
    return dict(line.split() for line in lines)


def numbering_of(root: Path) -> Numbering:
    """Return whose numbering of kinds of lesions the folders below `root` have, by each folder's first known image.

    If no folder settles it, IFA's numbering is returned.
    """
    root = root.expanduser()
    folder = (find_folder(root, Isic.inner, [IMAGES]) or root) / IMAGES
    found = {}
    for number in (1, 2, 3):
        names = sorted(path.name for path in (folder / str(number)).glob("*.jpg"))
        found[number] = next((lesion_classes()[file_stem(n)] for n in names if file_stem(n) in lesion_classes()), None)
    for numbering, kinds in NUMBERINGS.items():
        if all(found[number] in (None, kind) for number, kind in enumerate(kinds, start=1)):
            return numbering
    return "ifa"


def _image(name: PurePosixPath) -> str | None:
    """Return `<number>/<id>.jpg` of a listed image; None for the rest of the archive."""
    kind = lesion_classes().get(name.stem) if name.suffix == ".jpg" else None
    return f"{NUMBERINGS['ifa'].index(kind) + 1}/{name.name}" if kind else None


def _mask(name: PurePosixPath) -> str | None:
    """Return the name of a listed image's mask; None for the rest of the archive."""
    match = re.fullmatch(r"(ISIC_\d+)_segmentation\.png", name.name)
    return name.name if match and match[1] in lesion_classes() else None
