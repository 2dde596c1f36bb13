"""HSNet's hyper-correlation at the support pixels that a mask keeps; at all others it is exactly 0.

A masked support feature is 0 where its mask is, and so is its cosine with every query pixel. Masks keep a small part of
most images, so most of the work and of the memory of `hyper_correlation` goes into zeros. Here cosines are computed at
the kept pixels alone, when the first 4-D convolution asks for them.

Shapes: B samples, L blocks of a scale, C channels of its features, P = hq·wq query pixels, (hs, ws) the support's map,
n kept support pixels of a sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-5


@dataclass(frozen=True)
class KeptCorrelation:
    """Correlations of B samples, only with support pixels that the mask keeps; all others are 0.

    Attributes:
        query: unit features (B, L, C, P).
        support: unit features (L, C, n) of each sample's kept pixels, in the query's dtype.
        pixels: (n,) numbers of the kept pixels in the support's map, of each sample, row by row.
        query_plane: (hq, wq).
        support_plane: (hs, ws).
    """

    query: Tensor
    support: Sequence[Tensor]
    pixels: Sequence[Tensor]
    query_plane: tuple[int, int]
    support_plane: tuple[int, int]

    def cosines(self, sample: int) -> Tensor:
        """Return the cosines (n, L, P) of a sample's kept support pixels, negative ones as 0.

        In the dtype of the features, under autocast too.
        """
        query, support = self.query[sample], self.support[sample]
        with torch.autocast(query.device.type, enabled=False):
            learned = torch.is_grad_enabled() and (query.requires_grad or support.requires_grad)
            if learned or torch.compiler.is_exporting():
                return torch.stack([s.mT @ q for q, s in zip(query, support, strict=True)], 1).clamp(min=0)
            cosines = query.new_empty(support.shape[2], query.shape[0], query.shape[2])
            for block, (q, s) in enumerate(zip(query, support, strict=True)):
                torch.mm(s.mT, q, out=cosines[:, block])
        return cosines.clamp_(min=0)

    def dense(self) -> Tensor:
        """Return what `hyper_correlation` returns, (B, L, hq, wq, hs, ws)."""
        height, width = self.support_plane
        planes = []
        for sample, pixels in enumerate(self.pixels):
            cosines = self.cosines(sample)
            planes.append(cosines.new_zeros(height * width, *cosines.shape[1:]).index_copy(0, pixels, cosines))
        dense = torch.stack(planes).permute(0, 2, 3, 1)
        return dense.unflatten(3, self.support_plane).unflatten(2, self.query_plane)


def keep_correlation(query: Tensor, support: Tensor, mask: Tensor) -> KeptCorrelation:
    """Prepare correlations of queries and masked supports (classical-baselines §4.2).

    Args:
        query: `unit(...)` of (B, L, C, hq, wq) features.
        support: (B, L, C, hs, ws) features.
        mask: (B, S, S) support mask in [0, 1]; resized corner to corner and multiplied to the support's features.
    """
    plane = (support.shape[-2], support.shape[-1])
    weights = resize_mask(mask, plane).flatten(1)
    pixels = [w.nonzero()[:, 0] for w in weights]
    kept = [unit(pick(s.flatten(2), p) * w[p], 1) for s, w, p in zip(support, weights, pixels, strict=True)]
    dtype = torch.promote_types(torch.promote_types(query.dtype, kept[0].dtype), torch.float32)
    query, kept = query.to(dtype), [k.to(dtype) for k in kept]
    return KeptCorrelation(query.flatten(3), kept, pixels, (query.shape[-2], query.shape[-1]), plane)


def resize_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize masks (B, S, S) to (B, hs, ws), bilinear with aligned corners, in float32 or in their own wider type."""
    mask = mask[:, None].to(torch.promote_types(mask.dtype, torch.float32))
    return F.interpolate(mask, size, mode="bilinear", align_corners=True)[:, 0]


def unit(x: Tensor, dim: int = 2) -> Tensor:
    """Divide features by their norm over `dim` plus 1e-5 (§4.2), in float32 at least."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))  # squares of half precision overflow
    if x.requires_grad:  # the square root has no gradient at 0
        return x / (x.norm(dim=dim, keepdim=True) + EPSILON)
    return x / (x.square().sum(dim, keepdim=True).sqrt_() + EPSILON)  # on a CPU half the time


def pick(x: Tensor, pixels: Tensor) -> Tensor:
    """Return the selected pixels (·, ·, n) of (·, ·, S)."""
    if x.stride(1) == 1:  # channels last
        return x.mT.index_select(1, pixels).mT
    return x.gather(2, pixels.expand(*x.shape[:2], -1))  # many times as fast on a CPU as an index
