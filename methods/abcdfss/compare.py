"""Dense comparison of adapted features, and the threshold of its map (abcdfss.md §6).

Shapes: L levels, K shots, C channels, (h, w) the plane of a level, (H, W) the answer.
"""

from collections.abc import Iterable, Sequence

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.methods.abcdfss.head import PRODUCTS, small_masks

LEAST_LEVEL = 12
"""Least of 256 grey levels that the threshold is chosen by: 5 %."""


def attended_mask(query: Tensor, support: Tensor, masks: Tensor) -> Tensor:
    """Return the supports' mask as each query position attends to it, (h, w) in [0, 1].

    The supports of all shots are attended to at once, a block of query positions at a time.

    Args:
        query: (C, h, w).
        support: (K, C, h, w).
        masks: (K, H, W).
    """
    keys = support.transpose(0, 1).flatten(1)
    values = small_masks(masks.to(query.dtype), support.shape[-2:]).flatten()
    rows = max(1, PRODUCTS // keys.shape[1])
    queries = query.flatten(1).mT
    blocks = [(block @ keys / len(keys) ** 0.5).softmax(1) @ values for block in queries.split(rows)]
    return torch.cat(blocks).view(query.shape[-2:])


def enlarged(maps: Iterable[Tensor]) -> Tensor:
    """Stack maps (h, w) of several levels to (L, h, w) at the size of the first."""
    first, *others = maps
    size = (first.shape[-2], first.shape[-1])
    return torch.stack([first, *(resized(x, size) for x in others)])


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a map (h, w), bilinear with corners not aligned."""
    return F.interpolate(x[None, None], tuple(size), mode="bilinear", align_corners=False)[0, 0]


def otsu_threshold(values: Tensor) -> float:
    """Return Otsu's threshold of a map (H, W), by OpenCV on 256 grey levels without the darkest 5 %.

    A map of one value has that value.
    """
    low, high = values.min(), values.max()
    if not bool(high > low):
        return float(high)
    levels = (255 * (values - low) / (high - low)).to(torch.uint8).flatten().cpu()
    kept = levels[levels >= LEAST_LEVEL]
    level, _ = cv2.threshold(kept.numpy(), 0, 255, cv2.THRESH_OTSU)
    return float(level / 255 * (high - low) + low)


def threshold(values: Tensor) -> Tensor:
    """Return the value above which a map (H, W) is foreground: Otsu's or the mean, whichever is larger."""
    return torch.maximum(values.new_tensor(otsu_threshold(values)), values.mean())
