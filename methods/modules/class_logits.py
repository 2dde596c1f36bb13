"""Logits of background and ways together, for methods in which all classes compete."""

import torch.nn.functional as F
from torch import Tensor

INVALID = -1e4
"""Logit of a class without a pixel in the supports."""


def resize_logits(logits: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Resize token logits (N + 1, T) to (N + 1, h, w), bilinear without aligned corners."""
    return F.interpolate(logits.view(1, -1, *grid), size, mode="bilinear", align_corners=False)[0]
