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
        x: (b, k, c, h, w), best with channels last in memory, so that a token is moved as one piece.
        ratio: patches a side; 1 scans the whole map by rows and columns.

    Returns:
        (b, k, c, L), in memory (b, L, k, c).
    """
    rows, columns, rows_back, columns_back = x.permute(1, 0, 3, 4, 2)
    tokens = [_flatten(rows, ratio), _flatten(columns.transpose(1, 2), ratio)]
    tokens += [_flatten(m, ratio).flip(1) for m in (rows_back, columns_back.transpose(1, 2))]
    return torch.stack(tokens, 2).permute(0, 2, 3, 1)


def sum_directions(y: Tensor, side: int, ratio: int = 1) -> Tensor:
    """Sum the maps of all directions.

    Args:
        y: tokens in the order of the scan (b, k, c, L), best in memory (b, L, k, c).
        side: of the maps.
        ratio: see `scan_order`.

    Returns:
        (b, c, side, side), channels last in memory.
    """
    rows, columns, rows_back, columns_back = y.permute(0, 3, 1, 2).unbind(2)
    by_rows = _unflatten(rows + rows_back.flip(1), side, ratio)
    by_columns = _unflatten(columns + columns_back.flip(1), side, ratio)
    return (by_rows + by_columns.transpose(1, 2)).permute(0, 3, 1, 2)


def _flatten(x: Tensor, ratio: int) -> Tensor:
    return rearrange(x, "b (i y) (j x) c -> b (i j y x) c", i=ratio, j=ratio)


def _unflatten(x: Tensor, side: int, ratio: int) -> Tensor:
    patch = side // ratio
    return rearrange(x, "b (i j y x) c -> b (i y) (j x) c", i=ratio, j=ratio, y=patch, x=patch)
