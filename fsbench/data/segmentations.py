"""Masks of COCO-like `segmentation` entries: polygons, run-length masks or bitmaps (incontext-protocol §3.3)."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from fsbench.data.rle import decode_rle

RASTERISING = "pycocotools"
"""Name of the rule in records, see `fsbench.data.painting`."""
RASTERISED = f"rasterised by {RASTERISING} where they are polygons or runs, and united"
"""How `union_mask` makes a mask, in words."""
_FURTHEST = 100_000
"""Coordinates beyond have no place near an image; rasterising them takes memory by the distance."""


def union_mask(segmentations: Iterable[Any], height: int, width: int) -> np.ndarray:
    """Return the union (height, width) bool of the masks of COCO `segmentation` entries.

    Args:
        segmentations: each a list of polygons [x, y, x, y, …], a run-length mask {"size": [h, w], "counts": runs or
            compressed text}, or a bitmap (h, w) of 0 and 1.
        height, width: size of the image.

    Raises:
        ValueError: an entry is of another form or size; the message names what was found.
    """
    union = np.zeros((height, width), dtype=bool)
    for segmentation in segmentations:
        union |= _mask(segmentation, height, width)
    return union


def check_form(segmentation: Any) -> None:
    """Check, without decoding, that a COCO `segmentation` entry is a list of polygons, a run-length mask or a bitmap.

    Raises:
        ValueError: it is none of them; the message names what was found.
    """
    if isinstance(segmentation, dict):
        if not isinstance(segmentation.get("counts"), (str, bytes, list)):
            raise ValueError("it has no runs")
    elif isinstance(segmentation, list):
        if not _is_some_bitmap(segmentation):
            _check_polygons(segmentation)
    elif not isinstance(segmentation, np.ndarray):
        raise ValueError(f"a mask is {type(segmentation).__name__}, expected polygons, runs or a bitmap")


def _mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    if isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        text = counts.decode("ascii") if isinstance(counts, bytes) else counts  # pycocotools writes bytes
        return decode_rle({**segmentation, "counts": text}, height, width)
    other_size = isinstance(segmentation, list) and _is_some_bitmap(segmentation)
    if other_size and len(segmentation) <= 2:  # rather one or two polygons, if their numbers are pairs
        other_size = len(segmentation) == 2 and len(segmentation[0]) % 2 == 1
    if isinstance(segmentation, np.ndarray) or _is_bitmap(segmentation, height, width) or other_size:
        bitmap = np.asarray(segmentation)
        if bitmap.shape != (height, width):
            raise ValueError(f"a bitmap has the shape {bitmap.shape}")
        return bitmap > 0
    check_form(segmentation)
    return _polygons(segmentation, height, width)


def _is_bitmap(segmentation: Any, height: int, width: int) -> bool:
    """Return True for `height` lists of `width` numbers, all 0 or 1."""
    rows = isinstance(segmentation, list) and len(segmentation) == height
    return rows and all(
        isinstance(row, list) and len(row) == width and all(isinstance(v, (int, float)) and v in (0, 1) for v in row)
        for row in segmentation
    )


def _is_some_bitmap(segmentation: list[Any]) -> bool:
    """Return True for a bitmap of more than 4 columns; a single row of them may be a polygon as well."""
    width = len(segmentation[0]) if segmentation and isinstance(segmentation[0], list) else 0
    return width > 4 and _is_bitmap(segmentation, len(segmentation), width)


def _check_polygons(polygons: list[Any]) -> None:
    """Raise ValueError for polygons that pycocotools' `frPyObjects` refuses, or cannot rasterise in bounded memory.

    It takes others as the authors' programs do: one of fewer than three points, or without an area, marks no pixel, and
    an odd last number is dropped.
    """
    for polygon in polygons:
        if not isinstance(polygon, list) or not all(isinstance(value, (int, float)) for value in polygon):
            raise ValueError("a polygon is no list of numbers")
        if not all(abs(value) <= _FURTHEST for value in polygon):  # NaN is refused, too
            raise ValueError(f"a polygon has a point more than {_FURTHEST} pixels away")
    if not polygons:
        raise ValueError("a mask has no polygon")
    if len(polygons[0]) <= 4:  # pycocotools decides by the first one, and takes that for a box
        raise ValueError("its first polygon has fewer than three points, which pycocotools refuses")


def _polygons(polygons: list[Any], height: int, width: int) -> np.ndarray:
    # spared until it is needed
    from pycocotools import mask

    runs = mask.frPyObjects(polygons, height, width)
    return np.asarray(mask.decode(mask.merge(runs))).astype(bool)
