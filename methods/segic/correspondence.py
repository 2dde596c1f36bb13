"""SegIC's correspondence: prototypes of supports, their similarity to the query, its point (segic.md §4).

Shapes: n masks, K shots, C channels, g side of the frozen network's grid, S image side.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

SmallObjects = Literal["vanish", "area"]
"""Prototype of an object without a cell: 0 as in the authors' program, or the mean weighed by its area in each cell."""
CHANNELS = 64
"""Channels of the query that are enlarged at a time, so that its memory is no multiple of their number."""
LEAST_NORM = 1e-8
"""Length below which a vector is not made longer."""


def prototypes(support: Tensor, masks: Tensor, small_objects: SmallObjects = "vanish") -> Tensor:
    """Return the mean feature (n, C) of a support inside each of n masks (§4, step 1).

    Args:
        support: features of the support (C, g, g).
        masks: (n, S, S) of 0 and 1, or between them.
        small_objects: prototype of a mask that fills no grid cell by more than half: "vanish" gives zeros, "area"
            weighs the cells by the mask's area in them.
    """
    masks, grid = masks[:, None].to(support), (support.shape[1], support.shape[2])
    cells = (F.interpolate(masks, grid, mode="bilinear", align_corners=False)[:, 0] > 0.5).to(support)
    if small_objects == "area":
        has_cell = cells.flatten(1).any(1)[:, None, None]
        cells = torch.where(has_cell, cells, F.adaptive_avg_pool2d(masks, grid)[:, 0])
    area = cells.sum((1, 2))
    return torch.einsum("nyx,cyx->nc", cells, support) / torch.where(area > 0, area, 1)[:, None]


def similarity(prototype: Tensor, query: Tensor, side: int, tau: float = 1.0) -> Tensor:
    """Return the cosine of n objects' prototypes with every pixel of the query, as maps (n, 1, S, S) (§4, step 2).

    Maps of several shots are averaged before they are enlarged to the image; this is fsbench's rule.

    Args:
        prototype: prototypes (n, K, C) of n objects in K shots.
        query: features of the query (C, g, g).
        side: S, side of the image; features are compared at a quarter of it.
        tau: number by which the cosines are divided.
    """
    quarter = side // 4, side // 4
    direction = F.normalize(prototype, dim=-1, eps=LEAST_NORM).flatten(0, 1)
    product, square = query.new_zeros(len(direction), *quarter), query.new_zeros(quarter)
    for start in range(0, len(query), CHANNELS):
        part = slice(start, start + CHANNELS)
        larger = F.interpolate(query[None, part], quarter, mode="bilinear", align_corners=False)[0]
        product += torch.einsum("nc,cyx->nyx", direction[:, part], larger)
        square += larger.square().sum(0)
    cosines = (product / square.sqrt().clamp(min=LEAST_NORM)).unflatten(0, prototype.shape[:2])
    maps = cosines.mean(1, keepdim=True)
    return F.interpolate(maps, (side, side), mode="bilinear", align_corners=False) / tau


def best_points(maps: Tensor) -> Tensor:
    """Return the point (n, 2) float32, x and y, of the largest value in each map (n, 1, S, S), the first on ties."""
    flat = maps.flatten(1)
    equal = flat == flat.amax(1, keepdim=True)
    place = equal.int().argmax(1)  # of integers the first one on every device
    width = maps.shape[-1]
    return torch.stack([place % width, place // width], 1).float()
