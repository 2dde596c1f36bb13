"""Build tiny data sets in the official layouts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fsbench.datamodules.datasets.coco.dataset import CLASS_NAMES


def blocks(height: int, width: int, *regions: tuple[int, int, int, int, int]) -> np.ndarray:
    """Label map with rectangles (class, top, left, height, width), later ones on top."""
    labels = np.zeros((height, width), dtype=np.uint8)
    for number, top, left, rows, columns in regions:
        labels[top : top + rows, left : left + columns] = number
    return labels


def save_labels(path: Path, labels: np.ndarray) -> None:
    """A palette PNG as VOC's are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("P", labels.shape[::-1], labels.astype(np.uint8).tobytes())
    image.putpalette([value for number in range(256) for value in (number, 255 - number, 99)])
    image.save(path)


def save_photo(path: Path, height: int, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 120, 30)).save(path)


def save_pairs(root: Path, maps: Mapping[str, np.ndarray]) -> None:
    """Photos and label maps in the folders of the VOC layout."""
    for name, labels in maps.items():
        save_labels(root / "SegmentationClassAug" / f"{name}.png", labels)
        save_photo(root / "JPEGImages" / f"{name}.jpg", *labels.shape)


def save_names(root: Path, **lists: Sequence[str]) -> None:
    """`save_names(root, val=[…])` writes `ImageSets/Segmentation/val.txt`."""
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    for name, names in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{entry}\n" for entry in names))


def save_coco(root: Path, split: str, entries: Mapping[str, tuple[int, int, list[dict[str, Any]]]]) -> Path:
    """{file name: (height, width, objects)} as a part of the COCO 2014 layout; returns the annotation file.

    An object is a dict with class number, segmentation and, where wanted, id and iscrowd. Category ids are 7 x class.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (file_name, (height, width, objects)) in enumerate(entries.items(), start=100):
        images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        save_photo(root / split / file_name, height, width)
        for item in objects:
            entry = {"id": 1000 + len(annotations), "iscrowd": 0} | item
            number = entry.pop("class")
            annotations.append(entry | {"image_id": image_id, "category_id": 7 * number})
    categories = [{"id": 7 * number, "name": name} for number, name in enumerate(CLASS_NAMES, start=1)]
    file = root / "annotations" / f"instances_{split}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories[::-1]}))
    return file
