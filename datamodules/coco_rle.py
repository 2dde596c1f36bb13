"""Run-length masks of COCO annotations."""

from typing import Any

import numpy as np


def decode_rle(rle: dict[str, Any], height: int, width: int) -> np.ndarray:
    """Mask (height, width) bool of {"size": [h, w], "counts": runs or their compressed text}.

    Raises ValueError for a mask of another size and for runs that do not fill it: pycocotools would return
    uninitialised memory for those.
    """
    from pycocotools import mask

    counts = rle.get("counts")
    if list(rle.get("size", ())) != [height, width]:
        raise ValueError(f"its size is {rle.get('size')}")
    if isinstance(counts, list):
        if min(counts, default=0) < 0 or sum(counts) != height * width:
            raise ValueError(f"its runs do not fill {height * width} pixels")
        rle = mask.frPyObjects(rle, height, width)
    elif not counts:
        raise ValueError("it has no runs")
    return mask.decode(rle).astype(bool)
