"""Convolve a map as if it had been enlarged first, for a quarter of the multiplications.

A decoder that enlarges a wide map bilinearly and convolves the result spends most of its time there (DCAMA's first
mixer: 24 of 27 GFLOP). Both steps are linear: the convolution is nine 1 x 1 convolutions whose outputs are shifted and
added, and a 1 x 1 convolution commutes with enlarging. So the nine are applied to the small map, and one matrix per
axis and tap enlarges and shifts. The saving is that at twice the side.

Shapes: B samples, C channels in, D channels out, (h, w) the small map, (H, W) the enlarged one.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def upsampled_conv(x: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Compute `conv2d(interpolate(x, size, bilinear, align_corners=True), weight, padding=1)`.

    Args:
        x: (B, C, h, w).
        weight: (D, C, 3, 3).
        size: (H, W).

    Returns:
        (B, D, H, W), equal to `reference` up to rounding.
    """
    batch, channels, height, width = x.shape
    taps = weight.permute(2, 3, 0, 1).reshape(-1, channels)  # (3·3·D, C)
    small = torch.matmul(taps, x.flatten(2)).view(batch, 3, 3, -1, height, width)
    wide_dtype = torch.promote_types(x.dtype, torch.float32)
    rows, columns = (
        _shift_matrices(n, m, wide_dtype, x.device).to(x.dtype) for n, m in ((height, size[0]), (width, size[1]))
    )
    wide = torch.einsum("bijdyx,jXx->bidyX", small, columns)
    return torch.einsum("bidyX,iYy->bdYX", wide, rows)


def reference(x: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Compute `upsampled_conv` by its definition: enlarge, then convolve."""
    return F.conv2d(F.interpolate(x, size, mode="bilinear", align_corners=True), weight, padding=1)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # the matrices outlive the call: training takes them as well
def _shift_matrices(small: int, large: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return matrices (3, large, small) that enlarge bilinearly and shift by -1, 0, 1, with zeros beyond the edge."""
    unit = torch.eye(small, dtype=dtype, device=device)[None, None]
    enlarge = F.interpolate(unit, (large, small), mode="bilinear", align_corners=True)[0, 0]
    padded = F.pad(enlarge, (0, 0, 1, 1))
    return torch.stack([padded[tap : tap + large] for tap in range(3)])
