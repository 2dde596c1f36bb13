"""Prepare SUIM: a folder of masks for each class, from archives that only a browser can fetch."""

import shutil
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import replacing
from fsbench.data.image_io import read_image
from fsbench.datamodules.datasets.suim.index import IMAGES, MASKS
from fsbench.datamodules.prepare.by_hand import archive_at_hand, find_archive
from fsbench.datamodules.prepare.job import Job, incomplete, unpublished
from fsbench.datamodules.prepare.making import discard, has_content, making_place, publish
from fsbench.datamodules.prepare.unpack import unpack

WHOLE = ("SUIM.zip", "suim.zip", "archive.zip")
"""File names of an archive with both parts."""
PARTS = {"train_val": ("train_val.zip", "train_val-001.zip"), "TEST": ("TEST.zip", "TEST-001.zip")}
"""Folder of a part -> file names of its archive."""
TOTAL = 1635
"""Images of the complete data: 1525 for training, 110 for tests."""
COLOURS = {
    "FV": (1, 1, 0), "HD": (0, 0, 1), "PF": (0, 1, 0), "RI": (1, 0, 1), "RO": (1, 0, 0), "SR": (1, 1, 1),
    "WR": (0, 1, 1),
}  # fmt: skip
"""Folder of a class -> its RGB code, a channel being 1 from 128 on; black is water, and no class (§2.5)."""
FOLDER = "SUIM"
BOTH = "whole"
"""Folder of both parts from one archive."""


def prepare(job: Job) -> list[str]:
    """Make `<root>/SUIM/{images,masks/<class>}` of both parts; returns remarks for the user.

    Raises:
        DataError: an archive is not there, or has other images.
    """
    target = job.root / FOLDER
    if has_content(target) or has_content(job.root / MASKS):
        return []
    with making_place(job.root / "parts") as parts:
        archives = _unpack_parts(job, parts)
        names = _masks(parts)
        if len(names) != TOTAL and not (job.allow_unverified and names):
            raise incomplete(", ".join(map(str, archives)), f"{len(names)} images with a mask", str(TOTAL))
        with making_place(target) as making:
            for name, (image, mask) in names.items():
                (making / IMAGES).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(image, making / IMAGES / f"{name}.jpg")
                _write_masks(making / MASKS, name, np.asarray(read_image(mask)))
            for archive in archives:
                job.note(archive, None, verified=False)
            publish(making, target)
    return [unpublished(archive.name) for archive in archives]


def _unpack_parts(job: Job, parts: Path) -> list[Path]:
    """Unpack the archive of both parts, or those of each; return them. What earlier tries left of others goes."""
    if any(archive_at_hand(job, names) for names in PARTS.values()):
        archives = {part: find_archive(job, names, f"SUIM ({part})", __package__) for part, names in PARTS.items()}
    else:
        archives = {BOTH: find_archive(job, WHOLE, "SUIM", __package__)}
    for part in {BOTH, *PARTS} - set(archives):
        discard(parts / part)
    for part, archive in archives.items():
        unpack(archive, parts / part, _wanted)
    return list(archives.values())


def _wanted(name: PurePosixPath) -> str | None:
    """Return the place of an image, or of a mask that lies in the folder of masks itself; None for the rest."""
    if "__MACOSX" in name.parts or name.name.startswith(".") or len(name.parts) < 2:
        return None
    kinds = {IMAGES: ".jpg", MASKS: ".bmp"}
    return "/".join(name.parts[-3:]) if kinds.get(name.parent.name) == name.suffix.lower() else None


def _masks(parts: Path) -> dict[str, tuple[Path, Path]]:
    """Return id -> image and mask in RGB codes; DataError where one lacks the other or two have one id."""
    images = {path.stem: path for path in sorted(parts.rglob(f"{IMAGES}/*.jpg"))}
    found: dict[str, tuple[Path, Path]] = {}
    for path in sorted(parts.rglob(f"{MASKS}/*.bmp")):
        if path.stem in found or path.stem not in images:
            what = "stands in both parts" if path.stem in found else "has no image"
            raise DataError(f"the mask {path.stem}.bmp {what}; expected an image for each, once; fetch SUIM again")
        found[path.stem] = images[path.stem], path
    return found


def class_masks(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return folder of a class -> its pixels (H, W) bool, of the classes that RGB codes (H, W, 3) uint8 show."""
    codes = (labels >= 128).astype(np.uint8)
    masks = {folder: (codes == np.array(code)).all(-1) for folder, code in COLOURS.items()}
    return {folder: mask for folder, mask in masks.items() if mask.any()}


def _write_masks(folder: Path, name: str, labels: np.ndarray) -> None:
    for own in COLOURS:
        (folder / own).mkdir(parents=True, exist_ok=True)
    for own, mask in class_masks(labels).items():
        with replacing(folder / own / f"{name}.png", durable=False) as temporary:
            temporary.write_bytes(cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes())
