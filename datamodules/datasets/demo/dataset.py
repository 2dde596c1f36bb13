"""Write the demo data set to disk: JPEG images and label PNGs in the layout of PASCAL VOC, with a `folds.yaml`."""

from pathlib import Path

import numpy as np

from fsbench.data.palettes import voc_colors
from fsbench.datamodules.datasets.demo.classes import DEMO_CLASSES, FOLD, object_class
from fsbench.datamodules.datasets.demo.scenes import draw_scene
from fsbench.datamodules.datasets.demo.whole_folder import STAMP, first_line, own_folder, write_whole

VERSION = 1
"""Version of the files; a change that alters them raises it, and they are generated in another folder."""
TRAIN, VAL = 500, 1000
"""Number of training and of validation images."""
OBJECTS = (0.3, 0.35, 0.25, 0.1)
"""Shares of the scenes with 1, 2, 3 and 4 classes."""
TWIN = 0.15
"""Share of the scenes with two objects of one of their classes."""
FOLD_STARTS = (16, 1, 6, 11)
"""First class of each fold; the four following classes belong to it."""
MIN_PIXELS = 60
"""Least pixels of a class for an image to count as showing it: about half of the smallest object."""
DESCRIPTION = "folds.yaml"
"""File that describes the data set; its first line is the stamp."""


def stamp(seed: int, train: int, val: int) -> str:
    """Return the first line of `folds.yaml`; a folder with another one holds another data set."""
    return f"{STAMP}.dataset: version {VERSION}, seed {seed}, {train} training and {val} validation images"


def demo_folder(root: Path, seed: int = 0, train: int = TRAIN, val: int = VAL) -> Path:
    """Return the folder of the data set for which `root` was asked for, see `own_folder`."""
    return own_folder(root, DESCRIPTION, stamp(seed, train, val))


def is_current(root: Path, seed: int = 0, train: int = TRAIN, val: int = VAL) -> bool:
    """Return True if `root` holds the data set that `generate` would write."""
    return first_line(root / DESCRIPTION) == stamp(seed, train, val)


def generate(root: Path, seed: int = 0, train: int = TRAIN, val: int = VAL) -> None:
    """Write the data set to `root`, which is empty or absent; all or nothing, see `write_whole`."""
    write_whole(root / DESCRIPTION, stamp(seed, train, val), lambda folder: _write(folder, seed, train, val))


def scene_classes(seed: int, count: int) -> list[list[int]]:
    """Draw the classes of `count` scenes, so that all classes appear in the same number of scenes, give or take one."""
    rng = np.random.RandomState([seed, 1])
    sizes = rng.choice(len(OBJECTS), count, p=OBJECTS) + 1
    waiting: list[int] = []
    scenes = []
    for size in sizes:
        chosen: list[int] = []
        while len(chosen) < size:
            if not set(waiting) - set(chosen):
                waiting += (rng.permutation(DEMO_CLASSES) + 1).tolist()
            number = next(number for number in waiting if number not in chosen)
            waiting.remove(number)
            chosen.append(number)
        scenes.append(chosen + chosen[:1] * int(rng.uniform() < TWIN))
    return scenes


def _write(folder: Path, seed: int, train: int, val: int) -> None:
    """Draw all scenes into the empty `folder`."""
    # spared until it is needed
    from PIL import Image
    from tqdm import tqdm

    images, masks, lists = (folder / part for part in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"))
    for path in (images, masks, lists):
        path.mkdir(parents=True, exist_ok=True)
    names = [f"demo_{number:06d}" for number in range(train + val)]
    # the splits are dealt separately, so that both are balanced
    scenes = scene_classes(2 * seed, train) + scene_classes(2 * seed + 1, val)
    progress = tqdm(zip(names, scenes, strict=True), "Drawing the demo dataset", len(names), unit="image", disable=None)
    for number, (name, classes) in enumerate(progress):
        image, labels = draw_scene([seed, number], classes)
        Image.fromarray(image).save(images / f"{name}.jpg", quality=92)
        mask = Image.fromarray(labels)
        mask.putpalette(voc_colors().tobytes())
        mask.save(masks / f"{name}.png")
    for split, part in (("train", names[:train]), ("val", names[train:])):
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in part))
    (folder / DESCRIPTION).write_text(_description(stamp(seed, train, val)))


def _description(first_line: str) -> str:
    """Return the content of `folds.yaml`."""
    names = [object_class(number).name for number in range(1, DEMO_CLASSES + 1)]
    folds = [list(range(first, first + FOLD)) for first in FOLD_STARTS]
    return f"""{first_line}
name: demo
classes: [{", ".join(names)}]
folds: {folds}
images: JPEGImages
masks: SegmentationClassAug
train: ImageSets/Segmentation/train.txt
val: ImageSets/Segmentation/val.txt
min_pixels: {MIN_PIXELS}
"""
