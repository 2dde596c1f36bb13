"""Maps of features that PFENet's followers share: how they are resized and averaged over masks (hmnet.md §3).

Shapes: b samples, c channels, (h, w) a map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

AREA = 0.0005  # added to a mask's sum, §3


def resize(x: Tensor, side: int) -> Tensor:
    """Resize (b, c, ·, ·) to (b, c, side, side), bilinear with aligned corners."""
    if x.shape[-2:] == (side, side):
        return x
    return F.interpolate(x, (side, side), mode="bilinear", align_corners=True)


def resize_twice(x: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Resize logits (b, c, ·, ·) to the side of the method's images, then to (h, w)."""
    return F.interpolate(resize(x, side), size, mode="bilinear", align_corners=True).float()


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Average features over a mask: (b, c, h, w), (b, 1, h, w) -> (b, c, 1, 1) (§3)."""
    return (x * mask).sum((2, 3), keepdim=True) / (mask.sum((2, 3), keepdim=True) + AREA)


def widened(x: Tensor) -> Tensor:
    """Convert a tensor to fp32, unless its dtype is already wider."""
    return x if x.dtype == torch.float64 else x.float()
