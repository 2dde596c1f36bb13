"""ISIC 2018 Task 1: skin lesions of three kinds (cd-fss-protocol §2.2)."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from fsbench.base.errors import DataError
from fsbench.base.files import read_text
from fsbench.datamodules.indexes.binary_masks import ListedMasks, file_stem

IMAGES, MASKS = "ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"
CLASS_LIST = Path(__file__).with_name("classes.txt")
"""The class of each of the 2594 images, a line "id class" each, in the order of the list that PATNet publishes."""

Numbering = Literal["ifa", "dr_adapter", "gfsam"]
"""Programs that number the folders, each in its own way; PATNet's and ABCDFSS's numbers are not stated."""
NUMBERINGS: dict[Numbering, tuple[str, ...]] = {
    "ifa": ("nevus", "seborrheic_keratosis", "melanoma"),
    "dr_adapter": ("seborrheic_keratosis", "nevus", "melanoma"),
    "gfsam": ("nevus", "melanoma", "seborrheic_keratosis"),
}


class Isic(ListedMasks):
    """ISIC 2018 Task 1 in a folder for each kind of lesion.

    Args:
        root: Folder with `ISIC2018_Task1-2_Training_Input/<1 to 3>/<id>.jpg` and
            `ISIC2018_Task1_Training_GroundTruth/<id>_segmentation.png`; or a folder that holds it as `ISIC`.
        numbering: The kinds that the folders 1 to 3 hold, which the order of the classes follows: those of IFA, of
            DR-Adapter or of GF-SAM.
    """

    name = "isic"
    classes_of_fold = 3

    def __init__(self, root: str, numbering: Numbering = "ifa"):
        given = Path(root).expanduser()
        inner = next((folder for folder in (given, given / "ISIC") if (folder / IMAGES).is_dir()), given)
        self.class_names = NUMBERINGS[numbering]
        self.numbering = numbering
        super().__init__(inner, [f"{IMAGES}/{number}" for number in (1, 2, 3)], "jpg")

    def image_path(self, name: str) -> Path:
        return self.root / name

    def label_file(self, name: str) -> Path:
        return self.root / mask_name(name)

    def list_names(self) -> Mapping[int, tuple[str, ...]]:
        """List the images of every folder; DataError where one is of another kind than the numbering says."""
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


def mask_name(name: str) -> str:
    """Return the mask of a listed image (cd-fss-protocol §2)."""
    return f"{MASKS}/{file_stem(name)}_segmentation.png"


@cache
def lesion_classes() -> Mapping[str, str]:
    """Return image id -> kind of lesion of the 2594 images, in the order of the published list."""
    lines = read_text(CLASS_LIST, "list").splitlines()
    return dict(line.split() for line in lines)


def numbering_of(root: Path) -> Numbering:
    """Return the numbering of the folders below `root` by the first known image of each; that of IFA in doubt."""
    root = root.expanduser()
    inner = next((folder for folder in (root, root / "ISIC") if (folder / IMAGES).is_dir()), root)
    found = {}
    for number in (1, 2, 3):
        names = sorted(path.name for path in (inner / IMAGES / str(number)).glob("*.jpg"))
        found[number] = next((lesion_classes()[file_stem(n)] for n in names if file_stem(n) in lesion_classes()), None)
    for numbering, kinds in NUMBERINGS.items():
        if all(found[number] in (None, kind) for number, kind in enumerate(kinds, start=1)):
            return numbering
    return "ifa"
