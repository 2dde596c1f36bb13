"""DeepGlobe Land Cover 2018: crops of satellite images, six classes (cd-fss-protocol §2.1)."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import replacing
from fsbench.data.image_io import read_image, read_shades
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.kinds.binary_masks import ListedMasks, file_stem
from fsbench.datamodules.prepare.by_hand import find_archive
from fsbench.datamodules.prepare.job import Job, unpublished
from fsbench.datamodules.prepare.making import making_place, publish
from fsbench.datamodules.prepare.unpack import unpack

CLASS_NAMES = ("agriculture", "urban", "rangeland", "forest", "water", "barren")
COLOURS = {
    1: (255, 255, 0), 2: (0, 255, 255), 3: (255, 0, 255), 4: (0, 255, 0), 5: (0, 0, 255), 6: (255, 255, 255),
}  # fmt: skip
"""Number of a class -> its RGB colour; black is unknown, and no class."""
SIDE = 6
"""Crops of a side of a scene."""
PIXELS, RAREST = 408**2, 0.048
"""Pixels that shares are taken of, whatever a crop has, and the share that the rarest colour must exceed."""
ARCHIVE = ByHand(
    "DeepGlobe Land Cover",
    ("deepglobe-land-cover-classification-dataset.zip", "archive.zip", "land-train.zip", "land_train.zip"),
)
SCENES = 803
"""Scenes of the complete training part."""


class DeepGlobe(ListedMasks):
    """DeepGlobe satellite scenes, cut as PATNet's authors do: each class has a folder with the crops that show it.

    Args:
        root: Folder with `<1 to 6>/test/origin/<id>.jpg` and `<1 to 6>/test/groundtruth/<id>.png`; or a folder that
            holds this one as `Deepglobe` or `Deepglobe/04_train_cat`.
        layout: "patnet", where image and mask have the same file name but for the ending (so do DR-Adapter's, ABCDFSS's
            and GF-SAM's folders), or "ifa", where they are `<id>_sat_<ij>.jpg` and `<id>_mask_<ij>.png`.
    """

    name = "deepglobe"
    class_names = CLASS_NAMES
    classes_of_fold = len(CLASS_NAMES)
    inner = ("Deepglobe", "Deepglobe/04_train_cat", "04_train_cat")
    mark = "1/test/origin"
    folders = tuple(f"{number}/test/origin" for number in range(1, len(CLASS_NAMES) + 1))
    suffix = "jpg"
    counted_crops: ClassVar[int | None] = 5666
    """Crops that PATNet's paper counts; None where all are kept."""
    source = Source(
        instructions="""\
DeepGlobe Land Cover 2018 is handed out to signed-in users alone: get the training part (803 scenes with masks) from
https://www.kaggle.com/datasets/balraj98/deepglobe-land-cover-classification-dataset (a copy of the challenge's,
http://deepglobe.org), put the archive (archive.zip) into DIR, and run
  fsbench data prepare deepglobe --root <root> --from DIR
which cuts the crops that the field tests on. Its terms of use are those on these pages, for research alone; nobody
publishes a checksum. <root> may also be a folder that a program of the field has prepared, with
  <1 to 6>/test/origin/<id>.jpg   <1 to 6>/test/groundtruth/<id>.png
"""
    )

    def __init__(self, root: str, layout: Literal["patnet", "ifa"] = "patnet"):
        self.layout = layout
        super().__init__(root)

    def label_file(self, name: str) -> Path:
        return self.root / mask_name(name, self.layout)

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Unpack the user's DeepGlobe archive and cut its scenes into crops below `<root>/Deepglobe`; return remarks.

        Raises:
            DataError: there is no archive in the root or the folder of `--from`, the archive has other scenes, or a
                scene cannot be decoded.
        """
        if cls.is_prepared(job.root):
            return []
        target = job.root / cls.inner[0]
        archive = find_archive(job, ARCHIVE, cls.source)
        with making_place(job.root / "scenes") as scenes:
            unpack(archive, scenes, _scene)
            names = _scene_names(job, scenes, archive)
            with making_place(target) as making:
                kept = sum(_cut(scenes, name, making, with_all=cls.counted_crops is None) for name in names)
                publish(making, target)
        job.note(archive, None, verified=False)
        doubt = (
            f"; the paper of PATNet counts {cls.counted_crops}, which nobody has checked" if cls.counted_crops else ""
        )
        return [unpublished(archive.name), f"{kept} crops of {len(names)} scenes{doubt}"]

    @classmethod
    def detect(cls, root: Path) -> Self:
        masks = (path.name for path in root.expanduser().glob("**/groundtruth/*.png"))
        return cls(str(root), "ifa" if "_mask_" in next(masks, "") else "patnet")

    def report_more(self, report: Report) -> None:
        if self.counted_crops is not None:
            stems = {file_stem(name) for name in self.candidates("val")}
            report.count("crops", len(stems), self.counted_crops, "crops, some in several classes")


class DeepGlobeAll(DeepGlobe):
    """DeepGlobe with all crops, also those that PATNet's authors drop (one colour, or a rare one); no paper uses it.

    Args:
        root: folder of the crops, as for `DeepGlobe`.
        layout: "patnet" or "ifa": how image and mask files are named, as for `DeepGlobe`.
    """

    name = "deepglobe_all"
    same_classes_as: ClassVar[tuple[str, ...]] = (DeepGlobe.name,)
    counted_crops = None
    source = Source(
        instructions="""\
The archive is that of deepglobe (https://www.kaggle.com/datasets/balraj98/deepglobe-land-cover-classification-dataset,
for signed-in users, under the terms of use on that page). Put it (archive.zip) into DIR, and run
  fsbench data prepare deepglobe_all --root <root> --from DIR
"""
    )


def mask_name(name: str, layout: str) -> str:
    """Return the path of the mask of a crop `<class>/test/origin/<file>`, by the `layout` of the authors' folders."""
    folder, _, file = name.rpartition("/origin/")
    stem = f"{file[:-11]}_mask_{file[-6:-4]}" if layout == "ifa" else file_stem(file)
    return f"{folder}/groundtruth/{stem}.png"


class Crop(NamedTuple):
    """A crop of a satellite scene.

    Attributes:
        row, column: position of the crop in the grid of crops, from 0.
        place: slices of the scene's rows and columns.
        is_kept: whether the crop's mask has two colours or more, each on more than a small share of the pixels.
        masks: {class number: pixels (h, w) bool} of the classes that the crop shows.
    """

    row: int
    column: int
    place: tuple[slice, slice]
    is_kept: bool
    masks: dict[int, np.ndarray]


def crops(labels: np.ndarray) -> Iterator[Crop]:
    """Yield the 36 crops of a scene's mask (H, W, 3) uint8 RGB, row after row.

    Black and impure colours count as well: a single odd pixel is a rare colour, and its crop is marked as not kept.
    """
    height, width = labels.shape[:2]
    packed = labels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    for row in range(SIDE):
        for column in range(SIDE):
            place = (
                slice(row * height // SIDE, (row + 1) * height // SIDE),
                slice(column * width // SIDE, (column + 1) * width // SIDE),
            )
            values, counts = np.unique(packed[place], return_counts=True)
            is_kept = len(values) > 1 and counts.min() / PIXELS > RAREST
            present = set(values.tolist())
            codes = {number: (red << 16) + (green << 8) + blue for number, (red, green, blue) in COLOURS.items()}
            masks = {number: packed[place] == code for number, code in codes.items() if code in present}
            yield Crop(row, column, place, bool(is_kept), masks)


def _scene(name: PurePosixPath) -> str | None:
    """Return the place of an image or mask of the training part; None for the rest of the archive."""
    wanted = "__MACOSX" not in name.parts and re.fullmatch(r"\d+_(sat\.jpg|mask\.png)", name.name)
    return name.name if wanted and not {"valid", "test"} & set(name.parts) else None


def _scene_names(job: Job, scenes: Path, archive: Path) -> list[str]:
    """Return the ids of the scenes; DataError unless all have image and mask, or some where that is allowed."""
    images, masks = (
        {path.name.removesuffix(suffix) for path in scenes.glob(f"*{suffix}")} for suffix in ("_sat.jpg", "_mask.png")
    )
    if masks - images:
        raise DataError(f"archive {archive} has {min(masks - images)}_mask.png without its image; fetch it again")
    found, expected = f"a mask of {len(masks)} scenes", f"the {SCENES} of the training part"
    job.require_complete(archive, len(masks) == SCENES, bool(masks), found, expected)
    return sorted(masks)


def _cut(scenes: Path, name: str, making: Path, with_all: bool) -> int:
    """Write the crops of a scene into the folders of their classes; return the number of those that are kept."""
    import cv2  # which an installation that makes no runs lacks

    try:
        pixels = np.asarray(read_image(scenes / f"{name}_sat.jpg"))
        labels = read_shades(scenes / f"{name}_mask.png")
    except DataError as error:  # of an unpacked file, which goes with the next try
        raise DataError(
            f"image or mask of the scene {name} cannot be decoded; expected a JPEG and a PNG; fetch the archive again"
        ) from error
    if pixels.shape != labels.shape:
        raise DataError(
            f"scene {name} has an image of {pixels.shape[:2]} and a mask of {labels.shape[:2]} (height, width); "
            "expected equal sizes; fetch the archive again"
        )
    kept = 0
    for crop in crops(labels):
        if not (crop.is_kept or with_all) or not crop.masks:
            continue
        kept += 1
        stem = f"{name}_sat_{crop.row}{crop.column}"
        # OpenCV's default quality, 95
        encoded = cv2.imencode(".jpg", np.ascontiguousarray(pixels[crop.place][:, :, ::-1]))[1].tobytes()
        for number, mask in crop.masks.items():
            folder = making / f"{number}/test"
            _write(folder / f"origin/{stem}.jpg", encoded)
            _write(folder / f"groundtruth/{stem}.png", cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes())
    return kept


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=False) as temporary:
        temporary.write_bytes(content)
