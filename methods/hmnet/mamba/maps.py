"""Feature maps as sequences of tokens: the four directions in which a map is scanned (hmnet.md §6.3, §6.4).

Shapes: b samples, k = 4 directions, c channels, (h, w) or side a map, r patches a side, L tokens.
"""

import torch
from einops import rearrange
from torch import Tensor

DIRECTIONS = 4
"""By rows, by columns, and both reversed."""


def scan_order(x: Tensor, ratio: int = 1) -> Tensor:
    """Flatten the maps of each direction into tokens in the order of the scan.

    Direction 0 goes by rows: patch by patch, and by rows inside a patch. Direction 1 goes by columns in both. 2 and 3
    are 0 and 1 reversed as a whole (§6.4).

    Args:
        x: (b, k, c, h, w).
        ratio: patches a side; 1 scans the whole map by rows and columns.

    Returns:
        (b, k, c, L).
    """
    rows, columns = _flatten(x[:, 0::2], ratio), _flatten(x[:, 1::2].mT, ratio)
    return torch.stack([rows[:, 0], columns[:, 0], rows[:, 1].flip(-1), columns[:, 1].flip(-1)], 1)


def sum_directions(y: Tensor, side: int, ratio: int = 1) -> Tensor:
    """Sum the maps of all directions: tokens in the order of the scan (b, k, c, L) -> (b, c, side, side)."""
    rows = y[:, 0] + y[:, 2].flip(-1)
    columns = y[:, 1] + y[:, 3].flip(-1)
    return _unflatten(rows, side, ratio) + _unflatten(columns, side, ratio).mT


def _flatten(x: Tensor, ratio: int) -> Tensor:
    return rearrange(x, "... (i y) (j x) -> ... (i j y x)", i=ratio, j=ratio)


def _unflatten(x: Tensor, side: int, ratio: int) -> Tensor:
    patch = side // ratio
    return rearrange(x, "... (i j y x) -> ... (i y) (j x)", i=ratio, j=ratio, y=patch, x=patch)
