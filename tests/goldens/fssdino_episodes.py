"""Episodes of FSSDINO's own variant of COCO-20i, as its program draws them from an annotation file (fssdino.md §5).

They are not HSNet's: objects of fewer than 2·32² pixels and crowds do not exist, and images are drawn from Python sets,
whose order is CPython's own.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fsbench.data.coco_instances import decode_rle

SMALLEST_AREA = 2 * 32**2
"""Area in pixels, as the file states it, below which an object is left out."""


@dataclass(frozen=True)
class CocoEpisode:
    """One episode.

    Attributes:
        categories: ids of its categories in the order in which they were drawn.
        query: id of the query's image; with several categories it may be among the supports.
        supports: ids of the supports' images, category by category.
    """

    categories: tuple[int, ...]
    query: int
    supports: tuple[int, ...]


def fold_categories(instances: Mapping[str, Any], fold: int, folds: int = 4) -> list[int]:
    """Return the category ids of a fold: every `folds`-th of the file's list, from place `fold` on."""
    return [int(category["id"]) for category in instances["categories"]][fold::folds]


def kept_annotations(instances: Mapping[str, Any], categories: Sequence[int]) -> list[Mapping[str, Any]]:
    """Return the annotations of these categories that are large enough and no crowd, in the file's order."""
    return [
        annotation
        for annotation in instances["annotations"]
        if annotation["category_id"] in categories and not annotation["iscrowd"] and annotation["area"] >= SMALLEST_AREA
    ]


def images_by_category(annotations: Sequence[Mapping[str, Any]], categories: Sequence[int]) -> dict[int, list[int]]:
    """Return the image ids of each category in the order that a Python set filled in the file's order has."""
    found: dict[int, set[int]] = {category: set() for category in categories}
    for annotation in annotations:
        found[annotation["category_id"]].add(annotation["image_id"])
    return {category: list(images) for category, images in found.items()}


def draw_coco_episodes(
    images: Mapping[int, list[int]], way: int, shot: int, count: int, seed: int = 0
) -> Iterator[CocoEpisode]:
    """Draw episodes from images by category, in the categories' order, by Python's generator.

    Args:
        images: see `images_by_category`.
        way, shot, count: classes and shots of an episode, number of episodes.
        seed: of the generator.
    """
    generator = random.Random(seed)
    categories = list(images)
    for _ in range(count):
        if way == 1:
            category = generator.choice(categories)
            query, *supports = generator.sample(images[category], shot + 1)
            yield CocoEpisode((category,), query, tuple(supports))
            continue
        drawn = generator.sample(categories, way)
        query = generator.choice(images[drawn[0]])
        groups = [generator.sample(images[category], shot) for category in drawn]
        yield CocoEpisode(tuple(drawn), query, tuple(image for group in groups for image in group))


def class_channels(
    annotations: Sequence[Mapping[str, Any]], size: tuple[int, int], categories: Sequence[int], shown: Sequence[int]
) -> np.ndarray:
    """Rasterise an image's kept annotations to channels (M + 1, H, W) bool: background, then the fold's categories.

    Args:
        annotations: of this image, see `kept_annotations`.
        size: (H, W).
        categories: the fold's M categories; class number = 1 + place.
        shown: the episode's categories; others are background.
    """
    channels = np.zeros((len(categories) + 1, *size), dtype=bool)
    for annotation in annotations:
        if annotation["category_id"] in shown:
            channels[1 + categories.index(annotation["category_id"])] |= _raster(annotation["segmentation"], size)
    channels[0] = ~channels[1:].any(0)
    return channels


def _raster(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Return the mask (H, W) bool of polygons or run lengths; where it is empty, of one pixel of it."""
    # spared until it is needed
    from pycocotools import mask

    height, width = size
    if isinstance(segmentation, list):
        parts = mask.frPyObjects(segmentation, height, width)
        pixels = np.asarray(mask.decode(mask.merge(parts)), dtype=bool)
        column, row = (int(value) for value in segmentation[0][:2])
    else:
        pixels = np.asarray(decode_rle(segmentation, height, width), dtype=bool)
        column = row = 0
    if not pixels.any():
        pixels[min(max(row, 0), height - 1), min(max(column, 0), width - 1)] = True
    return pixels
