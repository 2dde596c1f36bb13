"""Views of images, masks and features: sheared maps (abcdfss.md §3).

The blur and the colour jitter of the authors' program change nothing and are left out.

Shapes: V views, (h, w) any plane.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Shear(NamedTuple):
    """Angles of a shear along x and y, in whole degrees."""

    x: int
    y: int


def source_cells(height: int, width: int, shear: Shear) -> tuple[Tensor, Tensor]:
    """Return for each cell of a sheared plane the cell (h·w,) int64 it is taken from, and whether that exists.

    Computed in float64, so that neither a device nor the type of the features decides which cell is nearest.

    >>> source_cells(1, 3, Shear(0, 0))
    (tensor([0, 1, 2]), tensor([True, True, True]))
    """
    ta, tb = math.tan(math.radians(shear.x)), math.tan(math.radians(shear.y))
    v, u = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (height, width))
    column = ((1 + ta * tb) * u + ta * v[:, None] + (width - 1) / 2).round().long()  # half to even
    row = (tb * u + v[:, None] + (height - 1) / 2).round().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return torch.where(inside, row * width + column, 0).flatten(), inside.flatten()


def sheared(x: Tensor, shear: Shear) -> Tensor:
    """Shear maps (..., h, w) by the nearest neighbour; 0 where a cell comes from outside."""
    cells, inside = (part.to(x.device) for part in source_cells(x.shape[-2], x.shape[-1], shear))
    return (x.flatten(-2)[..., cells] * inside).view(x.shape)


def views(x: Tensor, shears: Sequence[Shear]) -> Tensor:
    """Return all views (V, ..., h, w) of maps (..., h, w)."""
    return torch.stack([sheared(x, shear) for shear in shears])
