"""Write the demo data sets to disk.

For segmentation: JPEG images and label PNGs in the layout of PASCAL VOC, with a `folds.yaml`. For classification:
scenes with one object each, a folder of JPEG images for each class.
"""

from functools import partial
from pathlib import Path

import numpy as np

from fsbench.datamodules.datasets.demo.classes import DEMO_CLASSES, FOLD, object_class
from fsbench.datamodules.datasets.demo.scenes import draw_scene
from fsbench.datamodules.datasets.demo.whole_folder import STAMP, DrawnFolder
from fsbench.datamodules.prepare.label_images import write_label_map

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

PER_CLASS = 30
"""Images of a class for classification: more than the 5 supports and 15 queries of an episode."""
IMAGES_DESCRIPTION = "generated.txt"
"""File of those images whose only line is the stamp."""
_IMAGES_VERSION, _IMAGES_STREAM = 1, 2
"""Version of their files, and the part of their seeds that sets them apart from the scenes and the pre-training's."""


def drawn_dataset(seed: int = 0, train: int = TRAIN, val: int = VAL) -> DrawnFolder:
    """Return the description of the folder that the demo for segmentation is generated into."""
    line = f"{STAMP}.dataset: version {VERSION}, seed {seed}, {train} training and {val} validation images"
    return DrawnFolder(DESCRIPTION, line, partial(_write, line=line, seed=seed, train=train, val=val))


def drawn_images(seed: int = 0, per_class: int = PER_CLASS) -> DrawnFolder:
    """Return the description of the folder that the demo for classification is generated into."""
    line = f"{STAMP}.photos: version {_IMAGES_VERSION}, seed {seed}, {per_class} photos of each class"
    return DrawnFolder(IMAGES_DESCRIPTION, line, partial(_write_images, line=line, seed=seed, per_class=per_class))


def scene_classes(seed: int, count: int) -> list[list[int]]:
    """Draw the class numbers of `count` scenes, each class in equally many scenes, plus or minus one."""
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


def _write_images(folder: Path, line: str, seed: int, per_class: int) -> None:
    # spared until it is needed
    from PIL import Image
    from tqdm import tqdm

    images = [(number, i) for number in range(1, DEMO_CLASSES + 1) for i in range(per_class)]
    for number, i in tqdm(images, "Drawing the demo photos", unit="image", disable=None):
        path = folder / object_class(number).name / f"{i:03d}.jpg"
        path.parent.mkdir(exist_ok=True)
        image, _ = draw_scene([seed, _IMAGES_STREAM, number, i], [number])
        Image.fromarray(image).save(path, quality=92)
    (folder / IMAGES_DESCRIPTION).write_text(f"{line}\n")


def _write(folder: Path, line: str, seed: int, train: int, val: int) -> None:
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
        write_label_map(masks / f"{name}.png", labels)
    for split, part in (("train", names[:train]), ("val", names[train:])):
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in part))
    (folder / DESCRIPTION).write_text(_description(line))


def _description(first_line: str) -> str:
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
