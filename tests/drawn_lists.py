"""DistillFSS's and FoB's data sets under their official names, with drawn ellipses for polyps, potholes and lesions."""

import csv
import gzip
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.datamodules.datasets.isic import FOLD_LIST, IMAGES, MASKS, NUMBERINGS
from fsbench.datamodules.kinds.two_lists import TwoLists
from tests.goldens.kinds.distillfss import SETS, ellipse, grey_image, save

PROGRAM_NAMES = {"isic_listed": "isic"}
"""Our name of a data set -> that of the authors' program, where they differ."""
DRAWN = tuple({name: key for key, name in PROGRAM_NAMES.items()}.get(name, name) for name in SETS)
"""Our names of all data sets."""


def draw_set(root: Path, dataset: str, images: int = 20) -> TwoLists:
    """Draw a data set into an empty folder, and open it.

    Args:
        root: the folder.
        dataset: our name of the data set.
        images: number of images; industrial has twice as many in each class.
    """
    name = PROGRAM_NAMES.get(dataset, dataset)
    kind, draw, _ = SETS[name]
    draw(root, drawn_config(name, images))
    return kind(str(root))


def drawn_config(name: str, images: int) -> dict[str, Any]:
    """Return the settings of a drawing, as goldens have them, of a data set by its name in the authors' program."""
    rng = np.random.RandomState(len(name))
    classes = [f"kind{number:02d}" for number in range(20)]
    kinds = ("NV", "MEL", "BKL")
    config: dict[str, Any] = {"salt": f"{name}/", "items": [], "classes": classes, "order": classes[::-1]}
    for number in range(images if name != "industrial" else 20 * 3):
        item: dict[str, Any] = {"size": [56, 64], "lift": 60, "id": f"{rng.randint(10**6):06d}x{number}"}
        item["blobs"] = [[*rng.randint(16, 40, 2).tolist(), *rng.randint(6, 14, 2).tolist()] for _ in range(2)]
        item |= {"edge": 245, "colour": [255, 0, 0], "has": [1, number % 5 > 0], "value": 255}
        is_test = number % 3 == 0
        item |= {"field": "003" if is_test else "000", "file": f"frame{number:04d}.png"}
        if name == "pothole":
            item |= {"part": "testing" if is_test else "training", "folder": f"set{number % 2}"}
        if name == "lungcancer":
            item |= {"part": "test" if is_test else "train"}
        if name == "industrial":
            kind = classes[number % 20]
            item |= {"class": kind, "path": f"data/{kind}/bad/{number:05d}.png"}
        config["items"].append(item)
    ids = [item["id"] for item in config["items"]]
    config |= {"table": [[one, kinds[number % 3]] for number, one in enumerate(ids)], "test": ids[::4]}
    return config


def draw_lesion_folds(root: Path) -> list[str]:
    """Draw six lesions of FoB's first fold, 3, 2 and 1 of a class, and one of each other fold; return the six ids."""
    folds = _lesion_folds()
    chosen: list[str] = []
    for kind, number in (("melanoma", 3), ("nevus", 2), ("seborrheic_keratosis", 1)):
        chosen += [name for name, own in folds.items() if own == (kind, 1)][:number]
    others = [next(name for name, (_, own) in folds.items() if own == fold) for fold in (2, 3, 4, 5)]
    for name in (*chosen, *others):
        _save_lesion(root, name, folds[name][0])
    return chosen


def _lesion_folds() -> dict[str, tuple[str, int]]:
    """Return {image id: (kind of lesion, FoB's fold)} by the file of the suite."""
    rows = csv.DictReader(StringIO(gzip.decompress(FOLD_LIST.read_bytes()).decode()))
    return {row["id"]: (row["class"], int(row["fold"])) for row in rows}


def _save_lesion(root: Path, name: str, kind: str) -> None:
    """Write a drawn lesion and its mask as `fsbench data prepare isic` does."""
    rng = np.random.RandomState(int(name[-5:]))
    shown = ellipse(90, 120, *rng.randint(35, 55, 2), *rng.randint(12, 30, 2))
    for folder in (1, 2, 3):
        (root / IMAGES / str(folder)).mkdir(parents=True, exist_ok=True)
    image = grey_image(name, shown, 60)
    save(root / IMAGES / f"{NUMBERINGS['ifa'].index(kind) + 1}/{name}.jpg", np.repeat(image[..., None], 3, 2), "JPEG")
    save(root / MASKS / f"{name}_segmentation.png", shown * np.uint8(255))
