"""SUIM: underwater images, seven classes (cd-fss-protocol §2.5)."""

import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.image_io import read_shades
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.kinds.binary_masks import ListedMasks
from fsbench.datamodules.kinds.declaration import Declaration
from fsbench.datamodules.kinds.declared import remake_archives
from fsbench.datamodules.prepare.by_hand import archive_at_hand
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.label_images import write_mask

CLASS_NAMES = {
    "FV": "fish and vertebrates", "HD": "human divers", "PF": "plants", "RI": "reefs and invertebrates",
    "RO": "robots", "SR": "sea floor and rocks", "WR": "wrecks",
}  # fmt: skip
"""Folder of a class -> its name, in the order of the classes."""
COLOURS = {
    "FV": (1, 1, 0), "HD": (0, 0, 1), "PF": (0, 1, 0), "RI": (1, 0, 1), "RO": (1, 0, 0), "SR": (1, 1, 1),
    "WR": (0, 1, 1),
}  # fmt: skip
"""Folder of a class -> its RGB code, a channel being 1 from 128 on; black is water, and no class (§2.5)."""
WHOLE = ByHand("SUIM", ("SUIM.zip", "suim.zip", "archive.zip"))
TOTAL = 1635
"""Images of the complete data: 1525 for training, 110 for tests."""


def _merge(job: Job, own: Declaration) -> list[str]:
    is_parted = any(archive_at_hand(job, archive.names) for archive in own.source.by_hand)
    return remake_archives(job, own, _write, _place, () if is_parted else (WHOLE,))


def _place(name: PurePosixPath) -> str | None:
    if "__MACOSX" in name.parts or name.name.startswith("."):
        return None
    suffix = {"images": ".jpg", "masks": ".bmp"}.get(name.parent.name)
    return "/".join(name.parts[-3:]) if name.suffix.lower() == suffix else None


def _write(job: Job, archives: Sequence[Path], parts: Path, making: Path) -> list[str]:
    images = {path.stem: path for path in parts.rglob("images/*.jpg")}
    masks: dict[str, Path] = {}
    for path in sorted(parts.rglob("masks/*.bmp")):
        if path.stem in masks or path.stem not in images:
            what = "stands in both parts" if path.stem in masks else "has no image"
            raise DataError(f"the mask {path.name} {what}; expected an image for each, once; fetch SUIM again")
        masks[path.stem] = path
    found = f"{len(masks)} images with a mask"
    job.require_complete(", ".join(map(str, archives)), len(masks) == TOTAL, len(masks) > 0, found, str(TOTAL))
    for folder in ("images", *(f"masks/{own}" for own in COLOURS)):
        (making / folder).mkdir(parents=True, exist_ok=True)
    for name, path in masks.items():
        shutil.copyfile(images[name], making / f"images/{name}.jpg")
        for own, mask in class_masks(read_shades(path)).items():
            write_mask(making / f"masks/{own}/{name}.png", mask)
    return []


def class_masks(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return {class folder: mask (H, W) bool} for the classes in an RGB-coded label map (H, W, 3) uint8."""
    codes = (labels >= 128).astype(np.uint8)
    masks = {folder: (codes == np.array(code)).all(-1) for folder, code in COLOURS.items()}
    return {folder: mask for folder, mask in masks.items() if mask.any()}


class Suim(ListedMasks):
    """SUIM, underwater images: training and test part merged, with a folder of masks for each class.

    An image is listed for a class if its mask has a foreground pixel, so all masks are opened once.
    """

    declaration = Declaration(
        name="suim",
        class_names=tuple(CLASS_NAMES.values()),
        inner=("SUIM",),
        marks=tuple(f"masks/{folder}" for folder in CLASS_NAMES),
        kinds=tuple(CLASS_NAMES),
        listed="masks/{kind}/{stem}.{type}",
        photo="images/{stem}.jpg",
        counts={"all": 3859},  # masks with foreground that ABCDFSS states
        make=_merge,
        source=Source(
            page="https://irvlab.cs.umn.edu/resources/suim-dataset",
            terms="a browser gets them from the Google Drive that the page links to",
            by_hand=(
                ByHand("SUIM (train_val)", ("train_val.zip", "train_val-001.zip")),
                ByHand("SUIM (TEST)", ("TEST.zip", "TEST-001.zip")),
            ),
            notes=("SUIM.zip with both parts serves as well",),
        ),
    )

    @cached_property
    def names(self) -> Mapping[int, tuple[str, ...]]:
        """{class number: names of the masks that have foreground, ascending}."""
        self.count_pixels("val", list(self.texts))
        return {
            number: tuple(name for name in names if self.class_pixels(name)[0].get(number))
            for number, names in super().names.items()
        }
