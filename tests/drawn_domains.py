"""Archives of other domains in their publishers' layouts, with drawn content.

Scenes, lesions, lungs and fish are ellipses and blocks of colour, so that figures on them say nothing of real images.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fsbench.base.files import write_text
from fsbench.datamodules.datasets.deepglobe import COLOURS as LAND
from fsbench.datamodules.datasets.deepglobe import DeepGlobe, DeepGlobeAll
from fsbench.datamodules.datasets.isaid import LABEL_SUFFIX, Isaid, Isaid512
from fsbench.datamodules.datasets.isic import IMAGES, MASKS, Isic, lesion_classes
from fsbench.datamodules.datasets.lung import Lung, LungAll
from fsbench.datamodules.datasets.suim import COLOURS as WATER
from fsbench.datamodules.datasets.suim import Suim
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.label_images import write_label_map

SCENE = 2448
"""Side of a scene of DeepGlobe; the field's rule for crops holds for no other."""


def _encoded(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def _pack(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def _ellipse(rng: np.random.RandomState, side: int, centre: float = 0.5, spread: float = 0.1) -> np.ndarray:
    """Return the pixels (side, side) bool of an ellipse near `centre`."""
    y, x = np.mgrid[:side, :side] / side
    row, column = centre + spread * rng.uniform(-1, 1, 2)
    height, width = rng.uniform(0.15, 0.35, 2)
    return np.asarray(((y - row) / height) ** 2 + ((x - column) / width) ** 2 <= 1)


def _painted(rng: np.random.RandomState, mask: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) uint8 with two colours and noise."""
    base = np.where(mask[..., None], inside, outside)
    return np.clip(base + rng.normal(0, 18, base.shape), 0, 255).astype(np.uint8)


def draw_deepglobe(folder: Path, scenes: int = 2) -> Path:
    """Write `archive.zip` with a training part of blocks of land, and a part without masks; return it."""
    files: dict[str, bytes] = {}
    rng = np.random.RandomState(0)
    colours = np.array([LAND[number] for number in sorted(LAND)], dtype=np.uint8)
    for scene in range(scenes):
        blocks = rng.randint(0, 6, (12, 12))  # half a crop each
        blocks[:2] = scene % 6  # crops of one colour, which the field leaves out
        labels = colours[blocks].repeat(SCENE // 12, 0).repeat(SCENE // 12, 1)
        tint = (colours[blocks] // 2 + 40 + rng.randint(0, 60, (12, 12, 1))).astype(np.uint8)
        files[f"train/{100 + scene}_sat.jpg"] = _encoded(tint.repeat(SCENE // 12, 0).repeat(SCENE // 12, 1), "JPEG")
        files[f"train/{100 + scene}_mask.png"] = _encoded(labels, "PNG")
    files["valid/999_sat.jpg"] = _encoded(np.zeros((8, 8, 3), np.uint8), "JPEG")
    return _pack(folder / "archive.zip", files)


def draw_isic(folder: Path, of_kind: int = 5, side: int = 96) -> Path:
    """Write the two archives of Task 1 with `of_kind` images of each kind of lesion; return their folder."""
    images: dict[str, bytes] = {f"{IMAGES}/LICENSE.txt": b"CC", f"{IMAGES}/ATTRIBUTION.txt": b"-"}
    masks: dict[str, bytes] = {}
    rng = np.random.RandomState(1)
    taken: dict[str, int] = {}
    for name, kind in lesion_classes().items():
        if taken.setdefault(kind, 0) == of_kind:
            continue
        taken[kind] += 1
        mask = _ellipse(rng, side)
        inside = {"nevus": (110, 70, 50), "melanoma": (60, 40, 40), "seborrheic_keratosis": (130, 90, 60)}[kind]
        image = _painted(rng, mask, np.array(inside), np.array((205, 165, 150)))
        images[f"{IMAGES}/{name}.jpg"] = _encoded(image, "JPEG")
        masks[f"{MASKS}/{name}_segmentation.png"] = _encoded(mask.astype(np.uint8) * 255, "PNG")
    _pack(folder / f"{IMAGES}.zip", images)
    return _pack(folder / f"{MASKS}.zip", masks).parent


def draw_lung(folder: Path, shenzhen: int = 6, montgomery: int = 3, side: int = 96) -> Path:
    """Write `archive.zip` with X-rays of both hospitals, some without a mask, every file twice; return it."""
    files: dict[str, bytes] = {}
    rng = np.random.RandomState(2)
    names = [f"CHNCXR_{number:04d}_{number % 2}" for number in range(1, shenzhen + 1)]
    names += [f"MCUCXR_{number:04d}_{number % 2}" for number in range(1, montgomery + 1)]
    for name in [*names, "CHNCXR_9999_0"]:
        mask = _ellipse(rng, side, 0.35) | _ellipse(rng, side, 0.65)
        image = _painted(rng, mask, np.array((60, 60, 60)), np.array((150, 150, 150)))
        for top in ("Lung Segmentation", "data/Lung Segmentation"):
            files[f"{top}/CXR_png/{name}.png"] = _encoded(image, "PNG")
            if name in names:
                file = f"{name}_mask" if name.startswith("CHN") else name
                files[f"{top}/masks/{file}.png"] = _encoded(mask.astype(np.uint8) * 255, "PNG")
    return _pack(folder / "archive.zip", files)


def draw_suim(folder: Path, images: int = 14, side: int = 80) -> Path:
    """Write `train_val.zip` and `TEST.zip`, whose masks are RGB codes and impure by a few grey values."""
    rng = np.random.RandomState(3)
    parts: dict[str, dict[str, bytes]] = {"train_val": {}, "TEST": {}}
    own = list(WATER.values())
    for number in range(images):
        part = "TEST" if number >= images - 3 else "train_val"
        labels = np.zeros((side, side, 3), np.uint8)
        image = np.full((side, side, 3), (30, 70, 130), np.uint8)
        for place in (0, 1):  # two classes an image
            code = np.array(own[(number + place) % len(own)], np.uint8)
            mask = _ellipse(rng, side, 0.3 + 0.4 * place)
            labels[mask] = np.where(code, 250, 4)
            image[mask] = 60 + 120 * code
        name = f"{part[0].lower()}_r_{number}_"
        parts[part][f"{part}/images/{name}.jpg"] = _encoded(image, "JPEG")
        parts[part][f"{part}/masks/{name}.bmp"] = _encoded(labels, "BMP")
    parts["TEST"][f"TEST/masks/FV/t_r_{images - 1}_.bmp"] = _encoded(np.zeros((side, side), np.uint8), "BMP")
    for part, files in parts.items():
        _pack(folder / f"{part}.zip", files)
    return folder / "train_val.zip"


def draw_fss1000(root: Path, of_split: int = 2, side: int = 64) -> Path:
    """Write folders of classes with ten images each, without lists, so that the splits are drawn."""
    rng = np.random.RandomState(4)
    for number in range(4 * of_split):
        colour = rng.randint(40, 216, 3)
        for image in range(1, 11):
            mask = _ellipse(rng, side, 0.5, 0.25)
            folder = root / f"FSS-1000/class_{number:02d}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{image}.jpg").write_bytes(_encoded(_painted(rng, mask, colour, 255 - colour), "JPEG"))
            (folder / f"{image}.png").write_bytes(_encoded(mask.astype(np.uint8) * 255, "PNG"))
    return root


def draw_pascal(root: Path, images: int = 2, side: int = 360) -> Path:
    """Write PASCAL VOC's layout: of each of the 20 classes `images` for training and as many for validation."""
    rng = np.random.RandomState(5)
    names: dict[str, list[str]] = {"train_aug": [], "val": []}
    for folder in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(1, 21):
        colour = rng.randint(30, 226, 3)
        for image in range(2 * images):
            name = f"20{number:02d}_{image:06d}"
            names["train_aug" if image < images else "val"].append(name)
            mask = _ellipse(rng, side, 0.5, 0.2)
            pixels = _painted(rng, mask, colour, 255 - colour)
            (root / "JPEGImages" / f"{name}.jpg").write_bytes(_encoded(pixels, "JPEG"))
            write_label_map(root / "SegmentationClassAug" / f"{name}.png", mask.astype(np.uint8) * np.uint8(number))
    for part, listed in names.items():
        write_text(root / f"ImageSets/Segmentation/{part}.txt", "".join(f"{name}\n" for name in sorted(listed)))
    return root


def draw_isaid(root: Path, images: int = 3, side: int = 256) -> Path:
    """Write patches of each of iSAID's 15 classes, for training and for tests, whose objects have an edge of void."""
    rng = np.random.RandomState(6)
    layout = Isaid if side == 256 else Isaid512
    for part, (photos, labels) in layout.folders.items():
        for folder in (photos, labels):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(1, 16):
            colour = np.random.RandomState(number).randint(30, 226, 3)
            for image in range(images):
                name = f"P{1000 * (part == 'trn') + 10 * number + image:04d}_0_{side}_0_{side}"
                mask = _ellipse(rng, side, 0.5, 0.2)
                grown = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
                pixels = _painted(rng, mask, colour, 255 - colour)
                (root / photos / f"{name}.png").write_bytes(_encoded(pixels, "PNG"))
                found = np.where(mask, number, np.where(grown, 255, 0)).astype(np.uint8)
                write_label_map(root / labels / f"{name}{LABEL_SUFFIX}", found)
    return root


ARCHIVES: dict[str, Callable[[Path], Path]] = {
    "deepglobe": draw_deepglobe,
    "deepglobe_all": draw_deepglobe,
    "isic": draw_isic,
    "lung": draw_lung,
    "lung_all": draw_lung,
    "suim": draw_suim,
}
"""Data set -> what writes its archives."""
PREPARED = {kind.name: kind for kind in (DeepGlobe, DeepGlobeAll, Isic, Lung, LungAll, Suim)}
"""Data set -> its class, which prepares its folder from them."""
FOLDERS: dict[str, Callable[[Path], Path]] = {
    "fss1000": draw_fss1000,
    "pascal": draw_pascal,
    "isaid": draw_isaid,
    "isaid512": partial(draw_isaid, side=512),
}
"""Data set -> what writes its folder."""


def prepare_drawn(folder: Path, dataset: str) -> Path:
    """Draw the archives of `dataset` and prepare them as `fsbench data prepare` does; return the data set's root.

    What an earlier call has made is kept.
    """
    own = {"isic_one": "isic"}.get(dataset, dataset)
    root, marker = folder / own, folder / f".{own}-is-drawn"
    if not marker.is_file():
        if own in FOLDERS:
            FOLDERS[own](root)
        else:
            archives = folder / f"{own}-archives"
            ARCHIVES[own](archives)
            job = Job(root=root, source=archives, allow_unverified=True)
            with job.alone():
                PREPARED[own].prepare(job)
        write_text(marker, "")
    return root
