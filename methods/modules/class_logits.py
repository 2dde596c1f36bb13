"""Logits of background and ways together, for methods in which all classes compete."""

import torch.nn.functional as F
from torch import Tensor

INVALID = -1e4
"""Logit of a class without a pixel in the supports."""


def resize_logits(logits: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Resize token logits (N + 1, T) of a `grid` (rows, columns) to `size` (h, w), bilinear, corners not aligned."""
    return F.interpolate(logits.view(1, -1, *grid), size, mode="bilinear", align_corners=False)[0]
