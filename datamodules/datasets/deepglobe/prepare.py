"""Prepare DeepGlobe: crops of the 803 training scenes, from an archive that only a browser can fetch."""

import re
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import replacing
from fsbench.data.image_io import read_image
from fsbench.datamodules.datasets.deepglobe.crops import crops
from fsbench.datamodules.prepare.by_hand import find_archive
from fsbench.datamodules.prepare.job import Job, incomplete, unpublished
from fsbench.datamodules.prepare.making import has_content, making_place, publish
from fsbench.datamodules.prepare.unpack import unpack

ARCHIVES = (
    "deepglobe-land-cover-classification-dataset.zip", "archive.zip", "land-train.zip", "land_train.zip",
)  # fmt: skip
"""File names under which the archive is known."""
SCENES = 803
"""Scenes of the complete training part."""
FOLDER = "Deepglobe"


def prepare(job: Job) -> list[str]:
    """Make `<root>/Deepglobe/<1 to 6>/test/{origin,groundtruth}`; returns remarks for the user."""
    return prepare_crops(job, with_all=False)


def prepare_crops(job: Job, with_all: bool) -> list[str]:
    """Cut the scenes into crops, and keep those of the field, or all that show a class.

    Raises:
        DataError: there is no archive, it has other scenes, or one cannot be decoded.
    """
    target = job.root / FOLDER
    if has_content(target) or has_content(job.root / "1/test/origin"):
        return []
    archive = find_archive(job, ARCHIVES, "DeepGlobe Land Cover", __package__)
    with making_place(job.root / "scenes") as scenes:
        unpack(archive, scenes, _scene)
        names = scene_names(scenes, archive, job.allow_unverified)
        with making_place(target) as making:
            kept = sum(_cut(scenes, name, making, with_all) for name in names)
            publish(making, target)
    job.note(archive, None, verified=False)
    return [
        unpublished(archive.name),
        f"{kept} crops of {len(names)} scenes"
        + ("" if with_all else "; the paper of PATNet counts 5666, which nobody has checked"),
    ]


def _scene(name: PurePosixPath) -> str | None:
    """Return the place of an image or mask of the training part; None for the rest of the archive."""
    wanted = "__MACOSX" not in name.parts and re.fullmatch(r"\d+_(sat\.jpg|mask\.png)", name.name)
    return name.name if wanted and not {"valid", "test"} & set(name.parts) else None


def scene_names(scenes: Path, archive: Path, allow_incomplete: bool) -> list[str]:
    """Return the ids of the scenes; DataError unless all have image and mask, or some with `allow_incomplete`."""
    images, masks = (
        {path.name.removesuffix(suffix) for path in scenes.glob(f"*{suffix}")} for suffix in ("_sat.jpg", "_mask.png")
    )
    if masks - images:
        raise DataError(f"archive {archive} has {min(masks - images)}_mask.png without its image; fetch it again")
    if not masks or (len(masks) != SCENES and not allow_incomplete):
        raise incomplete(archive, f"a mask of {len(masks)} scenes", f"the {SCENES} of the training part")
    return sorted(masks)


def _cut(scenes: Path, name: str, making: Path, with_all: bool) -> int:
    """Write the crops of a scene into the folders of their classes; return the number of those that are kept."""
    try:
        pixels = np.asarray(read_image(scenes / f"{name}_sat.jpg"))
        labels = np.asarray(read_image(scenes / f"{name}_mask.png"))
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
