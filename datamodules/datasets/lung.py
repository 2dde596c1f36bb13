"""Chest X-rays with masks of the lungs (cd-fss-protocol §2.3)."""

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from fsbench.data.source import ByHand, Source
from fsbench.datamodules.kinds.binary_masks import ListedMasks, file_stem
from fsbench.datamodules.kinds.declaration import Declaration
from fsbench.datamodules.kinds.declared import unpack_archive
from fsbench.datamodules.prepare.job import Job

ARCHIVES = ("chest-xray-masks-and-labels", "archive", "LungSegmentation", "Lung Segmentation")


def _unpack(job: Job, own: Declaration) -> list[str]:
    taken: dict[str, PurePosixPath] = {}  # the archive may hold the same folders twice

    def place(name: PurePosixPath) -> str | None:
        path = own.place(name)
        return path if path is not None and taken.setdefault(path, name) == name else None

    def check_complete(making: Path, archive: Path) -> None:
        found, expected = len(list((making / "masks").glob("*.png"))), own.counts["all"]
        job.require_complete(archive, found == expected, found > 0, f"{found} masks", str(expected))

    return unpack_archive(job, own, place, check_complete)


class Lung(ListedMasks):
    """Chest X-rays of Shenzhen with masks of the lungs, one class; by DR-Adapter's rule also those of Montgomery.

    Args:
        root: the folder of the data set.
        layout: Rule from a mask to its image: "patnet" takes the last nine characters off (IFA's and ABCDFSS's, too),
            which fits the 566 masks of Shenzhen alone; "dr_adapter" takes off `_mask` where it is, for all 704 masks.
            The two rules list different images, and so make different episodes.
    """

    declaration = Declaration(
        name="lung",
        class_names=("lung",),
        inner=("LungSegmentation",),
        marks=("masks",),
        kinds=("masks",),
        listed="{kind}/{stem}.png{more}",
        counts={"all": 566},
        packed=("CXR_png/CHNCXR_*.png", "masks/CHNCXR_*.png"),
        make=_unpack,
        source=Source(
            page="https://www.kaggle.com/datasets/nikhilpandey360/chest-xray-masks-and-labels",
            terms="for signed-in users; images of the U.S. National Library of Medicine, for research",
            by_hand=(ByHand("the chest X-rays", tuple(f"{name}.zip" for name in ARCHIVES)),),
            holds=("LungSegmentation/CXR_png/<id>.png", "LungSegmentation/masks/<id>_mask.png"),
        ),
    )

    def __init__(self, root: str, layout: Literal["patnet", "dr_adapter"] = "patnet"):
        super().__init__(root)
        self.layout = layout

    def image_path(self, name: str) -> Path:
        stem = file_stem(name).replace("_mask", "") if self.layout == "dr_adapter" else Path(name).name[:-9]
        return self.root / f"CXR_png/{stem}.png"


class LungAll(Lung):
    """Lung X-rays with all 704 masks, as DR-Adapter lists them; `Lung` has 566, and other episodes."""

    declaration = replace(
        Lung.declaration,
        name="lung_all",
        same_classes_as=("lung",),
        counts={"all": 704},
        packed=tuple(f"{folder}/{hospital}CXR_*.png" for folder in ("CXR_png", "masks") for hospital in ("CHN", "MCU")),
    )

    def __init__(self, root: str):
        super().__init__(root, "dr_adapter")
