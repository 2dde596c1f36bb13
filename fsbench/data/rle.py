"""Masks as COCO's run-length encoding: runs of pixels down the columns, background first."""

from typing import Any

import numpy as np


def encode_ways(label_map: np.ndarray, ways: int) -> list[str]:
    """Return the mask of each way 1..`ways` of a label map (h, w) as COCO's compressed run-length text.

    The texts do not hold the size (h, w).
    """
    # spared until it is needed
    from pycocotools import mask

    layers = (np.asfortranarray(label_map == way, dtype=np.uint8) for way in range(1, ways + 1))
    return [mask.encode(layer)["counts"].decode() for layer in layers]


def decode_rle(rle: dict[str, Any], height: int, width: int) -> np.ndarray:
    """Decode a COCO run-length mask {"size": [h, w], "counts": runs or compressed text} to (height, width) bool.

    Raises:
        ValueError: the mask has another size, or its runs do not fill it (pycocotools would return uninitialised
            memory).
    """
    # spared until it is needed
    from pycocotools import mask

    return mask.decode(_checked(rle, height, width)).astype(bool)


def rle_extent(rle: dict[str, Any], height: int, width: int) -> tuple[np.ndarray, int]:
    """Return a run-length mask's box (left, top, right, bottom) and its number of pixels, without decoding.

    Raises:
        ValueError: the mask has another size than (height, width), or its runs do not fill it.
    """
    # spared until it is needed
    from pycocotools import mask

    checked = _checked(rle, height, width)
    left, top, columns, rows = mask.toBbox(checked)
    return np.array([left, top, left + columns, top + rows]), int(mask.area(checked))


def _checked(rle: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """Return a run-length mask in the form that pycocotools takes. Raises ValueError as `decode_rle`."""
    # spared until it is needed
    from pycocotools import mask

    counts = rle.get("counts")
    if list(rle.get("size", ())) != [height, width]:
        raise ValueError(f"its size is {rle.get('size')}")
    if isinstance(counts, list):
        if not all(type(count) is int for count in counts):
            raise ValueError("its runs are no whole numbers")
        runs = counts
    elif isinstance(counts, str) and counts:
        runs = _runs(counts)
    else:
        raise ValueError("it has no runs")
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"its runs do not fill {height * width} pixels")
    return mask.frPyObjects(rle, height, width) if isinstance(counts, list) else rle


def is_empty_rle(rle: dict[str, Any]) -> bool:
    """Return whether a run-length mask has no pixel; False if it cannot be read."""
    counts = rle.get("counts")
    try:
        runs: list[int] = _runs(counts) if isinstance(counts, str) else list(counts or [])
        return bool(runs) and sum(runs[1::2]) == 0
    except (TypeError, ValueError):
        return False


def _runs(text: str) -> list[int]:
    """Decode COCO's compressed runs: numbers in groups of 5 bits, from the third run on as differences to the last but
    one."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"its runs hold the character {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            if shift > 35:
                raise ValueError("a run is too long")
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its runs are cut off")
    return runs
