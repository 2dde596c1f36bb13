"""Sine code of the cells of a map, of DETR and its followers (vrp-sam.md §6.1).

Shapes: (h, w) a map, c channels.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # the code outlives the call: training takes it as well
def sine_code(channels: int, height: int, width: int) -> Tensor:
    """Return sines and cosines in turn of rows, then of columns.

    Rows and columns count from 1 and are brought to 2π at the last.

    Args:
        channels: c, a multiple of 4.
        height, width: h and w.

    Returns:
        (1, c, h, w) float32, on the CPU; shared, so not to be changed.
    """
    half = channels // 2
    frequency = 10000 ** (2 * torch.div(torch.arange(half), 2, rounding_mode="floor") / half)

    def axis_code(count: int) -> Tensor:
        steps = torch.arange(1, count + 1, dtype=torch.float32)
        angles = steps[:, None] / (count + 1e-6) * (2 * math.pi) / frequency
        return torch.stack([angles[:, 0::2].sin(), angles[:, 1::2].cos()], 2).flatten(1).T  # (half, count)

    rows = axis_code(height)[:, :, None].expand(half, height, width)
    columns = axis_code(width)[:, None].expand(half, height, width)
    return torch.cat([rows, columns])[None]
