"""Chest X-rays with masks of the lungs (cd-fss-protocol §2.3)."""

import re
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from fsbench.data.source import ByHand, Source
from fsbench.datamodules.kinds.binary_masks import ListedMasks, file_stem
from fsbench.datamodules.prepare.folders import make_folder
from fsbench.datamodules.prepare.job import Job

IMAGES, MASKS = "CXR_png", "masks"
ARCHIVE = ByHand(
    "the chest X-rays",
    ("chest-xray-masks-and-labels.zip", "archive.zip", "LungSegmentation.zip", "Lung Segmentation.zip"),
)


class Lung(ListedMasks):
    """Chest X-rays of Shenzhen with masks of the lungs, one class; by DR-Adapter's rule also those of Montgomery.

    Args:
        root: Folder with `CXR_png/<id>.png` and `masks/<id>_mask.png`; or a folder that holds this one as
            `LungSegmentation`.
        layout: Rule from a mask to its image: "patnet" takes the last nine characters off (IFA's and ABCDFSS's, too),
            which fits the 566 masks of Shenzhen alone; "dr_adapter" takes off `_mask` where it is, for all 704 masks.
            The two rules list different images, and so make different episodes.
    """

    name = "lung"
    class_names = ("lung",)
    classes_of_fold = 1
    inner = ("LungSegmentation",)
    mark = MASKS
    folders = (MASKS,)
    suffix = "png"
    listed = 566
    wanted: ClassVar[str] = r"CHNCXR_\w+"
    """Form of the names that are taken from the archive: those of Shenzhen."""
    source = Source(
        instructions="""\
The chest X-rays of Shenzhen and Montgomery with masks of the lungs are handed out to signed-in users: get
https://www.kaggle.com/datasets/nikhilpandey360/chest-xray-masks-and-labels, put the archive (archive.zip) into DIR,
and run
  fsbench data prepare lung --root <root> --from DIR
which takes the 566 of Shenzhen (lung_all: all 704). The images are the U.S. National Library of Medicine's, for
research, under the terms on that page; nobody publishes a checksum. <root> then holds
  LungSegmentation/CXR_png/<id>.png   LungSegmentation/masks/<id>_mask.png
"""
    )

    def __init__(self, root: str, layout: Literal["patnet", "dr_adapter"] = "patnet"):
        self.layout = layout
        super().__init__(root)

    def image_path(self, name: str) -> Path:
        return self.root / image_name(name, self.layout)

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Unpack the archive of X-rays into `<root>/LungSegmentation/{CXR_png,masks}`; return remarks for the user.

        Raises:
            DataError: the archive is not available, or has another number of masks.
        """
        if cls.is_prepared(job.root):
            return []
        taken: dict[str, PurePosixPath] = {}  # the archive may hold the same folders twice

        def place(name: PurePosixPath) -> str | None:
            """Return `CXR_png/<file>` or `masks/<file>` of the first of that name; None for the rest of the archive."""
            folder = name.parent.name if "__MACOSX" not in name.parts else ""
            if folder not in (IMAGES, MASKS) or not re.fullmatch(rf"(?:{cls.wanted})\.png", name.name):
                return None
            path = f"{folder}/{name.name}"
            return path if taken.setdefault(path, name) == name else None

        def check_complete(making: Path, archive: Path) -> None:
            found = sum(1 for _ in (making / MASKS).glob("*.png"))
            job.require_complete(archive, found == cls.listed, found > 0, f"{found} masks", str(cls.listed))

        return make_folder(job, cls.source, ARCHIVE, job.root / cls.inner[0], place, check_complete)


class LungAll(Lung):
    """Lung X-rays with all 704 masks, as DR-Adapter lists them; `Lung` has 566, and other episodes.

    Args:
        root: folder of the X-rays and masks, as for `Lung`.
    """

    name = "lung_all"
    same_classes_as: ClassVar[tuple[str, ...]] = (Lung.name,)
    listed = 704
    wanted = r"(?:CHN|MCU)CXR_\w+"
    source = Source(
        instructions="""\
The archive is that of lung (https://www.kaggle.com/datasets/nikhilpandey360/chest-xray-masks-and-labels, for
signed-in users, under the terms on that page). Put it (archive.zip) into DIR, and run
  fsbench data prepare lung_all --root <root> --from DIR
"""
    )

    def __init__(self, root: str):
        super().__init__(root, "dr_adapter")


def image_name(name: str, layout: str) -> str:
    """Return the path of the X-ray of a mask `masks/<file>`, by the rule of `layout`."""
    file = name.rpartition("/")[2]
    stem = file_stem(file).replace("_mask", "") if layout == "dr_adapter" else file[:-9]
    return f"{IMAGES}/{stem}.png"
