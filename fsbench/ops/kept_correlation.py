"""HSNet's hyper-correlation at the support pixels that a mask keeps; at all others it is exactly 0.

A masked support feature is 0 where its mask is, and so is its cosine with every query pixel. Masks keep a small part of
most images, so most of the work and of the memory of `hyper_correlation` goes into zeros. Here cosines are computed at
the kept pixels alone, some query pixels at a time, when the first 4-D convolution asks for them.

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
    """Correlations of B samples, of which those with dropped support pixels are known to be 0.

    Attributes:
        query: unit features (B, L, C, P).
        support: unit features (L, C, n) of each sample's kept pixels.
        pixels: (n,) numbers of the kept pixels in the support's map, of each sample, row by row.
        query_plane: (hq, wq).
        support_plane: (hs, ws).
    """

    query: Tensor
    support: Sequence[Tensor]
    pixels: Sequence[Tensor]
    query_plane: tuple[int, int]
    support_plane: tuple[int, int]

    def cosines(self, sample: int, first: int = 0, last: int | None = None) -> Tensor:
        """Return the cosines (L, last - first, n) of query pixels first, …, last - 1, negative ones as 0."""
        return (self.query[sample, :, :, first:last].mT @ self.support[sample]).clamp_(min=0)

    def dense(self) -> Tensor:
        """Return what `hyper_correlation` returns, (B, L, hq, wq, hs, ws)."""
        height, width = self.support_plane
        planes = []
        for sample, pixels in enumerate(self.pixels):
            cosines = self.cosines(sample)
            plane = cosines.new_zeros(*cosines.shape[:2], height * width)
            planes.append(plane.index_copy(2, pixels, cosines))
        return torch.stack(planes).unflatten(3, self.support_plane).unflatten(2, self.query_plane)


def keep_correlation(query: Tensor, support: Tensor, mask: Tensor) -> KeptCorrelation:
    """Prepare the correlation of queries and masked supports (classical-baselines §4.2).

    Args:
        query: `unit(...)` of (B, L, C, hq, wq) features.
        support: (B, L, C, hs, ws) features.
        mask: (B, S, S) support mask in [0, 1]; resized corner to corner and multiplied to the support's features.
    """
    plane = (support.shape[-2], support.shape[-1])
    weights = resize_mask(mask, plane).flatten(1)
    pixels = [w.nonzero()[:, 0] for w in weights]
    kept = [unit(pick(s.flatten(2), p) * w[p], 1) for s, w, p in zip(support, weights, pixels, strict=True)]
    return KeptCorrelation(query.flatten(3), kept, pixels, (query.shape[-2], query.shape[-1]), plane)


def resize_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize masks (B, S, S) to (B, hs, ws), bilinear with aligned corners."""
    return F.interpolate(mask[:, None].float(), size, mode="bilinear", align_corners=True)[:, 0]


def unit(x: Tensor, dim: int = 2) -> Tensor:
    """Divide features by their norm over `dim`, to which 1e-5 is added (§4.2)."""
    return x / (x.norm(dim=dim, keepdim=True) + EPSILON)


def pick(x: Tensor, pixels: Tensor) -> Tensor:
    """Return the given pixels (·, ·, n) of (·, ·, S); many times as fast on a CPU as an index."""
    return x.gather(2, pixels.expand(*x.shape[:2], -1))
