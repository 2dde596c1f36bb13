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
    """Correlations of B queries with the support pixels under a mask; correlations with other pixels are not stored.

    Attributes:
        query: unit features (B, L, C, P) of the query's P pixels.
        support: unit features (L, C, n) of the n kept support pixels, for each sample, in the query's dtype.
        pixels: indices (n,) of the kept pixels in the support's flattened map, for each sample.
        query_plane: size (hq, wq) of the query's map.
        support_plane: size (hs, ws) of the support's map.
    """

    query: Tensor
    support: Sequence[Tensor]
    pixels: Sequence[Tensor]
    query_plane: tuple[int, int]
    support_plane: tuple[int, int]

    def cosines(self, sample: int) -> Tensor:
        """Return the cosines (n, L, P) of sample number `sample`, kept support pixels by query pixels.

        Negative cosines are 0. The dtype is that of the features, also under autocast.
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
        """Return the cosines of all pairs of query and support pixels, (B, L, hq, wq, hs, ws), 0 off the mask."""
        height, width = self.support_plane
        planes = []
        for sample, pixels in enumerate(self.pixels):
            cosines = self.cosines(sample)
            planes.append(cosines.new_zeros(height * width, *cosines.shape[1:]).index_copy(0, pixels, cosines))
        dense = torch.stack(planes).permute(0, 2, 3, 1)
        return dense.unflatten(3, self.support_plane).unflatten(2, self.query_plane)


def keep_correlation(query: Tensor, support: Tensor, mask: Tensor) -> KeptCorrelation:
    """Return the correlations of queries with masked supports, stored for the support pixels under the mask alone.

    Args:
        query: unit features (B, L, C, hq, wq).
        support: features (B, L, C, hs, ws), not normalised.
        mask: (B, S, S) support mask in [0, 1]; it is resized with aligned corners and multiplied with the support's
            features.
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
    """Select pixels on the last axis: (·, ·, n) of features `x` (·, ·, S) for indices `pixels` (n,)."""
    if x.stride(1) == 1:  # channels last
        return x.mT.index_select(1, pixels).mT
    return x.gather(2, pixels.expand(*x.shape[:2], -1))  # many times as fast on a CPU as an index
