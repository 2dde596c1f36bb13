"""SUIM: underwater images, seven classes (cd-fss-protocol §2.5)."""

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import replacing
from fsbench.data.image_io import read_shades
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.kinds.binary_masks import ListedMasks, file_stem
from fsbench.datamodules.prepare.by_hand import archive_at_hand, find_archive
from fsbench.datamodules.prepare.job import Job, unpublished
from fsbench.datamodules.prepare.making import discard, making_place, publish
from fsbench.datamodules.prepare.unpack import unpack

IMAGES, MASKS = "images", "masks"
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
"""Archive with both parts."""
PARTS = {
    "train_val": ByHand("SUIM (train_val)", ("train_val.zip", "train_val-001.zip")),
    "TEST": ByHand("SUIM (TEST)", ("TEST.zip", "TEST-001.zip")),
}
"""Folder of a part -> its archive."""
TOTAL = 1635
"""Images of the complete data: 1525 for training, 110 for tests."""


class Suim(ListedMasks):
    """SUIM, underwater images: training and test part merged, with a folder of masks for each class.

    An image is listed for a class if its mask has a foreground pixel, so all masks are opened once.

    Args:
        root: Folder with `images/<id>.jpg` and `masks/<FV, HD, PF, RI, RO, SR, WR>/<id>.<ext>`; or a folder that holds
            this one as `SUIM`.
    """

    name = "suim"
    class_names = tuple(CLASS_NAMES.values())
    classes_of_fold = len(CLASS_NAMES)
    inner = ("SUIM",)
    mark = MASKS
    folders = tuple(f"{MASKS}/{folder}" for folder in CLASS_NAMES)
    suffix = ""
    listed = 3859  # masks with foreground that ABCDFSS states
    source = Source(
        instructions="""\
SUIM is on Google Drive, which only a browser gets it from: follow the links on the page
https://irvlab.cs.umn.edu/resources/suim-dataset (its terms of use are there), put the archives (train_val.zip and
TEST.zip, or SUIM.zip with both) into DIR, and run
  fsbench data prepare suim --root <root> --from DIR
which merges both parts; nobody publishes a checksum. <root> then holds
  SUIM/images/<id>.jpg   SUIM/masks/<FV, HD, PF, RI, RO, SR, WR>/<id>.png
"""
    )

    def list_names(self) -> Mapping[int, tuple[str, ...]]:
        """Return {class number: names of the masks that have foreground}."""
        every = super().list_names()
        self._number_of = {name: number for number, names in every.items() for name in names}
        self.count_pixels("val", [name for names in every.values() for name in names])
        return {
            number: tuple(name for name in names if self.class_pixels(name)[0].get(number))
            for number, names in every.items()
        }

    def image_path(self, name: str) -> Path:
        return self.root / image_name(name)

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Unpack the user's archives of SUIM into `<root>/SUIM/{images,masks/<class>}`; return remarks for the user.

        Raises:
            DataError: an archive is in neither the root nor the folder of `--from`, or has other images.
        """
        if cls.is_prepared(job.root):
            return []
        target = job.root / cls.inner[0]
        with making_place(job.root / "parts") as parts:
            archives = _unpack_parts(job, cls.source, parts)
            names = _masks(parts)
            words = ", ".join(map(str, archives))
            found = len(names)
            job.require_complete(words, found == TOTAL, found > 0, f"{found} images with a mask", str(TOTAL))
            with making_place(target) as making:
                for name, (image, mask) in names.items():
                    (making / IMAGES).mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(image, making / IMAGES / f"{name}.jpg")
                    _write_masks(making / MASKS, name, read_shades(mask))
                for archive in archives:
                    job.note(archive, None, verified=False)
                publish(making, target)
        return [unpublished(archive.name) for archive in archives]


def image_name(name: str) -> str:
    """Return the path of the image of the mask `name`."""
    return f"{IMAGES}/{file_stem(name)}.jpg"


def _unpack_parts(job: Job, source: Source, parts: Path) -> list[Path]:
    """Unpack the archive of both parts, or those of each; return them. What earlier tries left of others goes."""
    is_parted = any(archive_at_hand(job, archive.names) for archive in PARTS.values())
    wanted = PARTS if is_parted else {"whole": WHOLE}
    archives = {part: find_archive(job, archive, source) for part, archive in wanted.items()}
    for part in {"whole", *PARTS} - set(archives):
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
    """Return {class folder: mask (H, W) bool} for the classes in an RGB-coded label map (H, W, 3) uint8."""
    codes = (labels >= 128).astype(np.uint8)
    masks = {folder: (codes == np.array(code)).all(-1) for folder, code in COLOURS.items()}
    return {folder: mask for folder, mask in masks.items() if mask.any()}


def _write_masks(folder: Path, name: str, labels: np.ndarray) -> None:
    import cv2  # which an installation that makes no runs lacks

    for own in COLOURS:
        (folder / own).mkdir(parents=True, exist_ok=True)
    for own, mask in class_masks(labels).items():
        with replacing(folder / own / f"{name}.png", durable=False) as temporary:
            temporary.write_bytes(cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes())
