"""Published data sets of few drawn images in their true layouts: objects from 30 to 17,000 pixels of two novel classes.

Every image is `HEIGHT` x `WIDTH`. An object is a block of rows; a scene lists them as (place, pixels), where the places
0 and 1 are novel classes of fold 0, 2 a base class of it, and 3, 4 and 5 classes that the folds 1, 2 and 3 test.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fsbench.data.dataset import SegmentationData
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.datasets.deepglobe import DeepGlobe
from fsbench.datamodules.datasets.fss1000 import Fss1000
from fsbench.datamodules.datasets.isaid import LABEL_SUFFIX, Isaid, Isaid512
from fsbench.datamodules.datasets.isic import Isic
from fsbench.datamodules.datasets.lung import Lung
from fsbench.datamodules.datasets.pascal import Pascal, Pascal10
from fsbench.datamodules.datasets.suim import CLASS_NAMES as SUIM_CLASSES
from fsbench.datamodules.datasets.suim import Suim
from tests.datamodules.builders import save_coco, save_labels, save_names, save_pairs, save_photo
from tests.drawn_volumes import draw_prepared

HEIGHT, WIDTH = 200, 260
SIZES = (30, 900, 1500, 2500, 3000, 17000)
"""Pixels of objects: below and above each least size that a published program asks for."""
Scene = Sequence[tuple[int, int]]

TEST: Mapping[str, Scene] = {
    **{f"a{size}{copy}": [(0, size)] for size in SIZES for copy in "xyz"},
    **{f"b{size}x": [(1, size)] for size in SIZES},
    "c1": [(0, 2500), (1, 30)],
    "c2": [(1, 3000), (0, 30)],
    "c3": [(0, 2600), (1, 2700)],
    "c4": [(0, 17000), (1, 12000)],
    "d1": [(1, 1100), (1, 1100)],  # two objects, 2048 pixels together alone
    **{f"other{place}{copy}": [(place, 3000)] for place in (3, 4, 5) for copy in "xy"},
    "z1": [],
}
TRAINING: Mapping[str, Scene] = {
    **{f"t{copy}": [(2, 3000)] for copy in range(4)},
    "tmixed": [(2, 3000), (0, 30)],
}
NOVEL_TRAINING: Mapping[str, Scene] = {f"novel{copy}": [(0, 17000)] for copy in range(8)}
"""Training images that can support a novel class; bases' lists leave them out, a generalised test draws from them."""
PASCAL_NUMBERS = (1, 2, 16, 6, 11, 17)
ISAID_NUMBERS = (1, 2, 11, 6, 12, 13)


def _rectangles(scene: Scene) -> list[tuple[int, int, int, int]]:
    """Lay the objects of a scene out as (top, height, width, rest of a last row), without overlaps."""
    found, top = [], 2
    for _, pixels in scene:
        width = 30 if pixels < 10000 else 250
        found.append((top, pixels // width, width, pixels % width))
        top += pixels // width + 3
    return found


def label_map(scene: Scene, numbers: Sequence[int]) -> np.ndarray:
    """Return the label map (H, W) of a scene whose classes have these numbers."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for (place, _), (top, rows, width, rest) in zip(scene, _rectangles(scene), strict=True):
        labels[top : top + rows, :width] = numbers[place]
        labels[top + rows, :rest] = numbers[place]
    return labels


def _pascal(root: Path, training: Mapping[str, Scene] = TRAINING) -> Pascal:
    scenes = {**TEST, **training}
    save_pairs(root, {name: label_map(scene, PASCAL_NUMBERS) for name, scene in scenes.items()})
    save_names(root, val=sorted(TEST))
    return Pascal(str(root))


def pascal_with_novel_training(root: Path) -> Pascal:
    """Draw the data set `pascal` with training images of a large object of a novel class of fold 0."""
    return _pascal(root, {**TRAINING, **NOVEL_TRAINING})


def _pascal10(root: Path) -> Pascal:
    _pascal(root)
    return Pascal10(str(root))


def _coco(root: Path) -> Coco:
    numbers = (1, 5, 2, 6, 3, 4)
    for split, scenes in (("train2014", TRAINING), ("val2014", TEST)):
        entries = {}
        for name, scene in scenes.items():
            objects = [
                {
                    "class": numbers[place],
                    "area": pixels,
                    "bbox": [0, top, width, rows + 1],
                    "segmentation": _polygons(top, rows, width, rest),
                }
                for (place, pixels), (top, rows, width, rest) in zip(scene, _rectangles(scene), strict=True)
            ]
            entries[f"{name}.jpg"] = (HEIGHT, WIDTH, objects)
        file = save_coco(root, split, entries)
        content = json.loads(file.read_text())
        file.write_text(json.dumps(content | {"categories": content["categories"][::-1]}))  # in COCO's order
    return Coco(str(root))


def _polygons(top: int, rows: int, width: int, rest: int) -> list[list[int]]:
    whole = [0, top, width, top, width, top + rows, 0, top + rows]
    last = [0, top + rows, rest, top + rows, rest, top + rows + 1, 0, top + rows + 1]
    return [part for part, pixels in ((whole, rows * width), (last, rest)) if pixels]


def _isaid(root: Path) -> Isaid:
    for part, scenes in (("val", TEST), ("train", TRAINING)):
        for name, scene in scenes.items():
            save_photo(root / f"{part}/images/{name}.png", HEIGHT, WIDTH)
            save_labels(root / f"{part}/semantic_png/{name}{LABEL_SUFFIX}", label_map(scene, ISAID_NUMBERS))
    return Isaid(str(root))


def _isaid512(root: Path) -> Isaid512:
    for part, scenes in (("val", TEST), ("train", TRAINING)):
        for name, scene in scenes.items():
            save_photo(root / f"img_dir/{part}/{name}.png", HEIGHT, WIDTH)
            save_labels(root / f"ann_dir/{part}/{name}{LABEL_SUFFIX}", label_map(scene, ISAID_NUMBERS))
    return Isaid512(str(root))


def _folders(root: Path, classes: int, image: Callable[[int, str], str], mask: Callable[[int, str], str]) -> None:
    """Draw a mask and a photo for every size of every class; `image` and `mask` name their files."""
    for number in range(1, classes + 1):
        for place, size in enumerate(SIZES[: 6 - number % 3], start=1):
            name = f"{number}{place:03d}"
            save_photo(root / image(number, name), HEIGHT, WIDTH)
            file = root / mask(number, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(label_map([(0, size)], (255,))).save(file)


def _deepglobe(root: Path) -> DeepGlobe:
    _folders(root, 6, lambda n, x: f"{n}/test/origin/{x}.jpg", lambda n, x: f"{n}/test/groundtruth/{x}.png")
    return DeepGlobe(str(root))


def _isic(root: Path) -> Isic:
    _folders(
        root, 3, lambda n, x: f"ISIC2018_Task1-2_Training_Input/{n}/{x}.jpg",
        lambda n, x: f"ISIC2018_Task1_Training_GroundTruth/{x}_segmentation.png",
    )  # fmt: skip
    return Isic(str(root))


def _lung(root: Path) -> Lung:
    _folders(root, 1, lambda n, x: f"CXR_png/{x}.png", lambda n, x: f"masks/{x}_mask.png")
    return Lung(str(root), "dr_adapter")


def _suim(root: Path) -> Suim:
    folders = list(SUIM_CLASSES)
    _folders(root, 7, lambda n, x: f"images/{x}.jpg", lambda n, x: f"masks/{folders[n - 1]}/{x}.png")
    return Suim(str(root))


def _fss1000(root: Path) -> Fss1000:
    for kind in range(8):
        for number in range(1, 11):
            save_photo(root / f"kind{kind}/{number}.jpg", HEIGHT, WIDTH)
            size = SIZES[(kind + number) % len(SIZES)]
            Image.fromarray(label_map([(0, size)], (255,))).save(root / f"kind{kind}/{number}.png")
    return Fss1000(str(root))


def _chaost2(folder: Path) -> SegmentationData:
    return ChaosT2(str(draw_prepared(folder, slices=14)))


DRAWN: Mapping[str, Callable[[Path], SegmentationData]] = {
    "pascal": _pascal, "pascal10i": _pascal10, "coco": _coco, "isaid": _isaid, "isaid512": _isaid512,
    "deepglobe": _deepglobe, "isic": _isic, "lung": _lung, "suim": _suim, "fss1000": _fss1000,
    "chaost2": _chaost2,
}  # fmt: skip
"""Data set -> what draws it into a folder and opens it."""
