"""DeepGlobe Land Cover 2018: crops of satellite images, six classes (cd-fss-protocol §2.1)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, Self

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.image_io import read_image, read_shades
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.kinds.binary_masks import ListedMasks
from fsbench.datamodules.kinds.declaration import Declaration
from fsbench.datamodules.kinds.declared import remake_archives
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.label_images import write_bytes, write_mask

COLOURS = {
    1: (255, 255, 0), 2: (0, 255, 255), 3: (255, 0, 255), 4: (0, 255, 0), 5: (0, 0, 255), 6: (255, 255, 255),
}  # fmt: skip
"""Number of a class -> its RGB colour; black is unknown, and no class."""
SIDE = 6
"""Crops of a side of a scene."""
PIXELS, RAREST = 408**2, 0.048
"""Pixels that shares are taken of, whatever a crop has, and the share that the rarest colour must exceed."""
SCENES, CROPS = 803, 5666
"""Scenes of the complete training part, and the crops of them that PATNet's paper counts."""
ARCHIVES = ("deepglobe-land-cover-classification-dataset", "archive", "land-train", "land_train")


class Crop(NamedTuple):
    """A crop of a satellite scene: where it is in the grid of crops and in the scene, and what it shows."""

    row: int
    column: int
    place: tuple[slice, slice]
    is_kept: bool  # its mask has two colours or more, each on more than a small share of the pixels
    masks: dict[int, np.ndarray]  # class number -> pixels (h, w) bool


def crops(labels: np.ndarray) -> Iterator[Crop]:
    """Yield the 36 crops of a scene's mask (H, W, 3) uint8 RGB, row after row.

    Black and impure colours count as well: a single odd pixel is a rare colour, and its crop is marked as not kept.
    """
    packed = labels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    codes = {number: (red << 16) + (green << 8) + blue for number, (red, green, blue) in COLOURS.items()}
    rows, columns = ([slice(at * n // SIDE, (at + 1) * n // SIDE) for at in range(SIDE)] for n in packed.shape)
    for (row, down), (column, across) in product(enumerate(rows), enumerate(columns)):
        shown = packed[down, across]
        values, counts = np.unique(shown, return_counts=True)
        is_kept = len(values) > 1 and counts.min() / PIXELS > RAREST
        masks = {number: shown == code for number, code in codes.items() if code in values}
        yield Crop(row, column, (down, across), bool(is_kept), masks)


def _place(name: PurePosixPath) -> str | None:
    wanted = "__MACOSX" not in name.parts and re.fullmatch(r"\d+_(sat\.jpg|mask\.png)", name.name)
    return name.name if wanted and not {"valid", "test"} & set(name.parts) else None


def _cut(job: Job, archives: Sequence[Path], unpacked: Path, making: Path, with_all: bool) -> list[str]:
    (archive,) = archives
    masks = {path.name.removesuffix("_mask.png"): path for path in unpacked.rglob("*_mask.png")}
    images = {path.name.removesuffix("_sat.jpg"): path for path in unpacked.rglob("*_sat.jpg")}
    if lone := masks.keys() - images.keys():
        raise DataError(f"archive {archive} has {min(lone)}_mask.png without its image; fetch it again")
    found, expected = f"a mask of {len(masks)} scenes", f"the {SCENES} of the training part"
    job.require_complete(archive, len(masks) == SCENES, bool(masks), found, expected)
    kept = sum(_cut_scene(name, images[name], masks[name], making, with_all) for name in sorted(masks))
    doubt = "" if with_all else f"; the paper of PATNet counts {CROPS}, which nobody has checked"
    return [f"{kept} crops of {len(masks)} scenes{doubt}"]


def _cut_scene(name: str, image: Path, mask: Path, making: Path, with_all: bool) -> int:
    import cv2  # which an installation that makes no runs lacks

    try:
        pixels, labels = np.asarray(read_image(image)), read_shades(mask)
    except DataError as error:  # of an unpacked file, which goes with the next try
        raise DataError(
            f"image or mask of the scene {name} cannot be decoded; expected a JPEG and a PNG; fetch the archive again"
        ) from error
    if pixels.shape != labels.shape:
        raise DataError(f"image and mask of the scene {name} differ in size; fetch the archive again")
    kept = [crop for crop in crops(labels) if (crop.is_kept or with_all) and crop.masks]
    for crop in kept:
        stem = f"{name}_sat_{crop.row}{crop.column}"
        # OpenCV's default quality, 95
        encoded = cv2.imencode(".jpg", np.ascontiguousarray(pixels[crop.place][:, :, ::-1]))[1].tobytes()
        for number, shown in crop.masks.items():
            write_bytes(making / f"{number}/test/origin/{stem}.jpg", encoded)
            write_mask(making / f"{number}/test/groundtruth/{stem}.png", shown)
    return len(kept)


class DeepGlobe(ListedMasks):
    """DeepGlobe satellite scenes, cut as PATNet's authors do: each class has a folder with the crops that show it.

    Args:
        root: the folder of the data set.
        layout: "patnet", where image and mask have the same file name but for the ending (so do DR-Adapter's, ABCDFSS's
            and GF-SAM's folders), or "ifa", where they are `<id>_sat_<ij>.jpg` and `<id>_mask_<ij>.png`.
    """

    declaration = Declaration(
        name="deepglobe",
        class_names=("agriculture", "urban", "rangeland", "forest", "water", "barren"),
        inner=("Deepglobe", "Deepglobe/04_train_cat", "04_train_cat"),
        marks=tuple(f"{number}/test/origin" for number in COLOURS),
        kinds=tuple(map(str, COLOURS)),
        listed="{kind}/test/origin/{stem}.jpg{more}",
        labels="{kind}/test/groundtruth/{stem}.png",
        make=partial(remake_archives, write=partial(_cut, with_all=False), place=_place),
        source=Source(
            page="https://www.kaggle.com/datasets/balraj98/deepglobe-land-cover-classification-dataset",
            terms="for signed-in users, for research; a copy of the challenge's, http://deepglobe.org",
            by_hand=(ByHand("DeepGlobe Land Cover", tuple(f"{name}.zip" for name in ARCHIVES)),),
            notes=("a folder that a program of the field has prepared serves as well",),
        ),
    )

    def __init__(self, root: str, layout: Literal["patnet", "ifa"] = "patnet"):
        super().__init__(root)
        self.layout = layout

    def label_file(self, name: str) -> Path:
        mask = super().label_file(name)
        return mask.with_name(mask.name.replace("_sat_", "_mask_")) if self.layout == "ifa" else mask

    @classmethod
    def detect(cls, root: Path) -> Self:
        masks = (path.name for path in root.expanduser().glob("**/groundtruth/*.png"))
        return cls(str(root), "ifa" if "_mask_" in next(masks, "") else "patnet")

    def report_lists(self, report: Report) -> None:
        super().report_lists(report)
        if self.name == "deepglobe":
            stems = {self.texts[name]["stem"] for name in self.every_name}
            report.count("crops", len(stems), CROPS, "crops, some in several classes")


class DeepGlobeAll(DeepGlobe):
    """DeepGlobe with all crops, also those that PATNet's authors drop (one colour, or a rare one); no paper uses it."""

    declaration = replace(
        DeepGlobe.declaration,
        name="deepglobe_all",
        same_classes_as=("deepglobe",),
        make=partial(remake_archives, write=partial(_cut, with_all=True), place=_place),
    )
