"""Bidirectional matching of patches, and the points that it gives (matcher.md §2, §3).

Shapes: K supports, N cells of an image on a grid of side g, C channels, D image side.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

MANY = 40
"""Matches of which no more than this are all kept (§3, step 3)."""
MIDDLE = 7
"""Half the side in pixels of the square that stands for masks without foreground (§1)."""


@dataclass(frozen=True)
class Matches:
    """Points of a query that its supports' foreground is matched with.

    Attributes:
        points: (n, 2) int64, x and y of pixels, on the CPU, in the order that feeds the samplers.
        box: (4,) int64, x0, y0, x1, y1 around them.
    """

    points: Tensor
    box: Tensor


def reference_foreground(masks: Tensor, patch: int) -> Tensor:
    """Return the cells (K·N,) bool of which any pixel is foreground in masks (K, D, D) bool (§1, §2).

    Where no mask has any foreground, it is a square in the middle of each.
    """
    if not bool(masks.any()):
        masks, middle = masks.clone(), masks.shape[-1] // 2
        masks[:, middle - MIDDLE : middle + MIDDLE, middle - MIDDLE : middle + MIDDLE] = True
    return (F.avg_pool2d(masks[:, None].float(), patch) > 0).flatten()


def cost_of(similarity: Tensor) -> Tensor:
    """Return the cost of a transport between cells of these cosines (§3)."""
    return (1 - similarity) / 2


def match_cells(similarity: Tensor, foreground: Tensor) -> list[int]:
    """Return the query's cells that match the references' foreground both ways (§3, steps 1 to 4).

    Args:
        similarity: cosines (K·N, N) of reference and query cells.
        foreground: (K·N,) bool, at least one.

    Returns:
        Cells without repetition, in the order of a Python set of them.
    """
    values, inside = similarity.cpu().numpy(), foreground.cpu().numpy()
    forward = values[inside]
    rows, cells = linear_sum_assignment(forward, maximize=True)
    _, back = linear_sum_assignment(values.T[cells], maximize=True)
    kept = inside[back]
    if not kept.any():
        kept[:] = True
    cells, found = cells[kept], forward[rows, cells][kept]
    order = np.argsort(-found, kind="stable")
    chosen = order[: len(order) // 2] if len(order) > MANY else order
    return list(set(cells[chosen].tolist()))  # in this order the authors' program goes on


def matched_points(cells: list[int], side: int, patch: int) -> Matches:
    """Return the middles of cells as points (§3, steps 4 and 5).

    Args:
        cells: numbers of cells.
        side: g.
        patch: side of a cell in pixels.
    """
    numbers = torch.tensor(cells)
    points = torch.stack([numbers % side, numbers // side], 1) * patch + patch // 2
    box = torch.cat([points.amin(0), points.amax(0)]).clamp(0, side * patch - 1)
    return Matches(points, box)
