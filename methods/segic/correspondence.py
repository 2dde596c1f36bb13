"""SegIC's correspondence: prototypes of supports, their similarity to the query, its point (segic.md §4).

Shapes: n masks, C channels, g side of the frozen network's grid, S image side.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

CHANNELS = 64
"""Channels of the query that are enlarged at a time, so that its memory is no multiple of their number."""
LEAST_NORM = 1e-8
"""Length below which a vector is not made longer."""


def prototypes(support: Tensor, masks: Tensor) -> Tensor:
    """Return the mean of a support's features inside each mask; 0 where a mask has no cell (§4, step 1).

    Args:
        support: (C, g, g).
        masks: (n, S, S) of 0 and 1, or between them.

    Returns:
        (n, C).
    """
    small = F.interpolate(masks[:, None].to(support), support.shape[-2:], mode="bilinear", align_corners=False)
    cells = (small[:, 0] > 0.5).to(support)
    return torch.einsum("nyx,cyx->nc", cells, support) / cells.sum((1, 2)).clamp(min=1)[:, None]


def similarity(prototype: Tensor, query: Tensor, side: int, tau: float = 1.0) -> Tensor:
    """Return the cosine of prototypes with every pixel of the query, as maps of the image (§4, step 2).

    Args:
        prototype: (n, C).
        query: (C, g, g).
        side: S; features are compared at a quarter of it.
        tau: the cosines are divided by it.

    Returns:
        (n, 1, S, S).
    """
    quarter = side // 4, side // 4
    direction = prototype / prototype.norm(dim=1, keepdim=True).clamp(min=LEAST_NORM)
    product, square = query.new_zeros(len(prototype), *quarter), query.new_zeros(quarter)
    for start in range(0, len(query), CHANNELS):
        part = slice(start, start + CHANNELS)
        larger = F.interpolate(query[None, part], quarter, mode="bilinear", align_corners=False)[0]
        product += torch.einsum("nc,cyx->nyx", direction[:, part], larger)
        square += larger.square().sum(0)
    cosine = product / square.sqrt().clamp(min=LEAST_NORM)
    return F.interpolate(cosine[:, None], (side, side), mode="bilinear", align_corners=False) / tau


def best_points(maps: Tensor) -> Tensor:
    """Return x and y (n, 2) float32 of the largest value of each map (n, 1, S, S), the first of equal ones (§4, 3)."""
    flat = maps.flatten(1)
    equal = flat == flat.amax(1, keepdim=True)
    place = equal.int().argmax(1)  # of integers the first one on every device
    width = maps.shape[-1]
    return torch.stack([place % width, place // width], 1).float()
