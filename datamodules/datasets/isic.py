"""ISIC 2018 Task 1: skin lesions of three kinds (cd-fss-protocol §2.2)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from fsbench.base.errors import DataError
from fsbench.base.files import read_text
from fsbench.data.dataset import DERIVED, PairList
from fsbench.data.source import Archive, Source
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.kinds.binary_masks import ListedMasks
from fsbench.datamodules.kinds.declaration import Declaration, Texts, visible_names
from fsbench.datamodules.kinds.two_lists import TwoLists
from fsbench.datamodules.lists.text_file import read_rows
from fsbench.datamodules.prepare.folders import make_folder
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.making import has_content

IMAGES, MASKS = "ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"
CLASS_LIST = Path(__file__).with_name("isic.classes.txt")
"""The class of each of the 2594 images, a line "id class" each, in the order of the list that PATNet publishes."""
FOLD_LIST = Path(__file__).with_name("isic.folds.csv.gz")
"""Class and fold, from 1, of each image: the folds that FoB publishes (primebo1/FoB_SAM, Apache-2.0; skin-ds.md §1)."""
TABLE, TEST = "ISIC_2019_Training_GroundTruth.csv", "test.csv"
COLUMNS = {"NV": "nevus", "MEL": "melanoma", "BKL": "seborrheic_keratosis"}
"""Column of DistillFSS's table -> class."""
ABSENT = "ISIC_0015982"
"""The image, a nevus, that DistillFSS's table lacks."""

Numbering = Literal["ifa", "dr_adapter", "gfsam"]
"""Programs that number the folders, each in its own way; PATNet's and ABCDFSS's numbers are not stated."""
NUMBERINGS: dict[Numbering, tuple[str, ...]] = {
    "ifa": ("nevus", "seborrheic_keratosis", "melanoma"),
    "dr_adapter": ("seborrheic_keratosis", "nevus", "melanoma"),
    "gfsam": ("nevus", "melanoma", "seborrheic_keratosis"),
}


@cache
def lesion_classes() -> Mapping[str, str]:
    """Return {image id: kind of lesion} for the 2594 images, in the order of the published list."""
    return dict(line.split() for line in read_text(CLASS_LIST, "list").splitlines())


def prepare_lesions(job: Job, own: Declaration) -> list[str]:
    """Unpack ISIC's archives: photos into folders 1 to 3 as IFA's, masks into one; return remarks for the user."""

    def place(name: PurePosixPath) -> str | None:
        if name.name.endswith("_segmentation.png"):
            return name.name if name.stem.removesuffix("_segmentation") in lesion_classes() else None
        kind = lesion_classes().get(name.stem) if name.suffix == ".jpg" else None
        return f"{NUMBERINGS['ifa'].index(kind) + 1}/{name.name}" if kind else None

    def check_complete(making: Path, archive: Path) -> None:
        found, expected = sum(path.is_file() for path in making.rglob("*")), len(lesion_classes())
        job.require_complete(archive, found == expected, found > 0, f"files of {found} listed images", str(expected))

    remarks = []
    for archive in own.source.archives:
        target = job.root / archive.name.removesuffix(".zip")
        if not has_content(target):
            remarks += make_folder(job, own.source, archive, target, place, check_complete)
    return remarks


class Isic(ListedMasks):
    """ISIC 2018 Task 1, with one folder for each kind of lesion.

    Args:
        root: the folder of the data set.
        numbering: Whose numbering of the kinds of lesions the folders 1 to 3 have (IFA's, DR-Adapter's or GF-SAM's);
            the order of the classes follows it.
    """

    declaration = Declaration(
        name="isic",
        class_names=NUMBERINGS["ifa"],
        inner=("ISIC",),
        marks=(*(f"{IMAGES}/{number}" for number in (1, 2, 3)), MASKS),
        kinds=("1", "2", "3"),
        listed=f"{IMAGES}/{{kind}}/{{stem}}.jpg{{more}}",
        labels=f"{MASKS}/{{stem}}_segmentation.png",
        counts={"nevus": 1867, "melanoma": 519, "seborrheic_keratosis": 208, "all": 2594},
        make=prepare_lesions,
        source=Source(
            page="https://challenge.isic-archive.com/data",
            terms="which states the licence; for non-commercial use unless it says otherwise",
            archives=tuple(
                Archive(f"https://isic-challenge-data.s3.amazonaws.com/2018/{folder}.zip", None)
                for folder in (IMAGES, MASKS)
            ),
            holds=(f"{IMAGES}/<1, 2, 3>/<id>.jpg", f"{MASKS}/<id>_segmentation.png"),
            notes=("nevi are in folder 1, seborrheic keratoses in 2 and melanomas in 3, as IFA numbers them",),
        ),
    )

    def __init__(self, root: str, numbering: Numbering = "ifa"):
        super().__init__(root)
        self.numbering = numbering
        if self.class_names == NUMBERINGS["ifa"]:  # others have an order of their own
            self.class_names = NUMBERINGS[numbering]

    def class_number(self, name: str) -> int:
        texts = self.texts_of(name)
        kind = NUMBERINGS[self.numbering][int(texts["kind"]) - 1]
        known = lesion_classes().get(texts["stem"], kind)
        if known != kind:
            raise DataError(
                f"{self.root / name} is a {known}; expected a {kind} in folder {texts['kind']} of the numbering "
                f"{self.numbering}; set --data.dataset.numbering to that of the program that made the folders: "
                f"{', '.join(NUMBERINGS)}"
            )
        return self.class_names.index(kind) + 1 if kind in self.class_names else 1

    @classmethod
    def detect(cls, root: Path) -> "Isic":
        """Return the three kinds of lesions in `root`, in the numbering that fits its images; IFA's if none does."""
        for data in (Isic(str(root), numbering) for numbering in NUMBERINGS):
            with suppress(DataError):  # of an image in the folder of another kind
                if data.names:
                    return data
        return Isic(str(root))

    def report_lists(self, report: Report) -> None:
        super().report_lists(report)
        report.ok("numbering", f"{self.numbering}: {', '.join(NUMBERINGS[self.numbering])}")


class IsicOne(Isic):
    """The images of `Isic` as one class: nevi (72 %), melanomas and keratoses together."""

    declaration = replace(Isic.declaration, name="isic_one", class_names=("lesion",), same_classes_as=("isic",))


class IsicFolds(Isic):
    """The images of `Isic` in the five folds of FoB, each with three kinds of lesions (skin-ds.md §1).

    The folds are of images: a test of fold 0 is about the images of FoB's fold 1, of all kinds.
    """

    folds = 5
    fold_list: ClassVar[Path] = FOLD_LIST
    declaration = replace(
        Isic.declaration,
        name="isic_folds",
        class_names=tuple(sorted(Isic.declaration.class_names)),
        same_classes_as=("isic",),
    )

    def released_pairs(self, split: str, fold: int) -> PairList | None:
        """Return the images of a fold that are here, class after class, for the test; None for other splits."""
        if split != "val":
            return None
        wanted = {row["id"] for row in read_rows(self.fold_list, "id") if int(row["fold"]) == fold + 1}
        here = (name for names in self.names.values() for name in sorted(names))
        pairs = tuple((name, self.class_number(name)) for name in here if self.texts[name]["stem"] in wanted)
        found = sorted(self.texts[name]["stem"] for name, _ in pairs)
        return PairList(pairs, "official" if found == sorted(wanted) else DERIVED)


class IsicListed(TwoLists):
    """The three kinds of lesions with a list of training and one of test images, by DistillFSS's rule.

    Images and their kinds are those of ISIC 2019's table, where it lies in the root; else those of the published list,
    but for one image that the table lacks. The test is `test.csv`, which the authors do not release, with a column
    `id`; without it a fifth of the images is drawn.
    """

    declaration = replace(
        Isic.declaration,
        name="isic_listed",
        class_names=tuple(COLUMNS.values()),
        kinds=(),
        same_classes_as=("isic",),
        marks=(IMAGES, MASKS),
        counts={},
        source=replace(
            Isic.declaration.source,
            notes=(f"{TABLE} of the same page may be put into <root>, and so may {TEST} with the column id",),
        ),
    )

    @cached_property
    def texts(self) -> Mapping[str, Texts]:
        """{id: file and class} in the order of the table, of images that are there with a mask."""
        table = self.root / TABLE
        published = {name: kind for name, kind in sorted(lesion_classes().items()) if name != ABSENT}
        kinds = _read_table(table) if table.is_file() else published
        masks = {name.removesuffix("_segmentation.png") for name in visible_names(self.root / MASKS)}
        folders = (IMAGES, f"{IMAGES}/1", f"{IMAGES}/2", f"{IMAGES}/3")
        paths = [f"{folder}/{name}" for folder in folders for name in visible_names(self.root / folder)]
        files = {Path(path).stem: path for path in paths if path.endswith(".jpg")}
        found = {name: kind for name, kind in kinds.items() if name in files and name in masks}
        other = next((name for name, kind in found.items() if kind not in self.class_names), None)
        if other is not None:
            raise DataError(f"{table} has another kind of lesion for {other}; expected one of {', '.join(COLUMNS)}")
        return {name: {"stem": name, "path": files[name], "kind": kind} for name, kind in found.items()}

    def list_images(self) -> tuple[Sequence[str], Sequence[str]]:
        path = self.root / TEST
        if not path.is_file():
            return super().list_images()
        test = dict.fromkeys(row["id"] for row in read_rows(path, "id"))
        if unknown := test.keys() - self.texts.keys():
            raise DataError(f"{path} names {min(unknown)}; expected ids of images with a mask and a class")
        return [name for name in self.texts if name not in test], list(test)


def _read_table(path: Path) -> dict[str, str]:
    """Return {id: class} in the order of the table of ISIC 2019; "" for kinds of lesions without a class."""
    found = {}
    for row in read_rows(path, "image"):
        kinds = [column for column, value in row.items() if column != "image" and value in ("1", "1.0")]
        if len(kinds) != 1:
            raise DataError(f"{path} has {len(kinds)} kinds of lesions for {row['image']}; expected one")
        found[row["image"].replace("_downsampled", "")] = COLUMNS.get(kinds[0], "")
    return found
