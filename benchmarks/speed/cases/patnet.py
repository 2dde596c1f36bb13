"""PATNet's transformation and correlation beside its formulas (patnet.md §2, §3)."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.speed.harness import Case, call_difference, forward
from fsbench.methods.hsnet.patnet import AnchoredPair, prototypes, scaled_rows
from fsbench.networks.ops.correlation import hyper_correlation
from fsbench.networks.ops.kept_correlation import resize_mask

SCALES = ((4, 512, 8), (6, 1024, 16), (3, 2048, 31))
"""Blocks, channels and pixels of the image a position of ResNet-50's scales, the last of 400 pixels rounded up."""


def by_definition(query: Tensor, support: Tensor, mask: Tensor, anchors: Tensor) -> Tensor:
    """Return the correlation by the matrix (L, C, C) that the authors multiply every feature with."""
    basis = scaled_rows(prototypes(support, mask))
    matrices = (torch.linalg.pinv(basis) @ anchors.double()).to(query.dtype)
    masked = support * resize_mask(mask, (support.shape[3], support.shape[4]))[:, None, None]
    q, s = (torch.einsum("blcd,blchw->bldhw", matrices, x) for x in (query, masked))
    return hyper_correlation(q, s, torch.ones_like(mask))


def in_coefficients(query: Tensor, support: Tensor, mask: Tensor, anchors: Tensor) -> Tensor:
    """Return the correlation by two coefficients a position, as the method computes it."""
    return AnchoredPair.between(query, support, mask).correlation(anchors).dense()


def cases(device: torch.device, kept: float = 0.25, side: int = 400) -> Iterator[Case]:
    """Compare the correlation of each scale of ResNet-50 by the authors' matrices and by coefficients.

    --kept is the share of the support that its mask keeps.
    """
    generator = torch.Generator().manual_seed(0)
    mask, edge = torch.zeros(1, side, side, device=device), round(side * kept**0.5)
    mask[:, (side - edge) // 2 : (side + edge) // 2, (side - edge) // 2 : (side + edge) // 2] = 1
    for blocks, channels, stride in SCALES:
        size = -(-side // stride)
        made = (torch.rand(1, blocks, channels, size, size, generator=generator).to(device) for _ in range(2))
        query, support = made
        anchors = scaled_rows(torch.randn(blocks, 2, channels, generator=generator).to(device))
        given = (query, support, mask, anchors)
        paths = {"plain": forward(partial(by_definition, *given)), "ours": forward(partial(in_coefficients, *given))}
        what = f"PATNet's correlation, {blocks} blocks of {channels} channels, {size} x {size}, {kept:.0%} kept"
        yield Case(what, paths, partial(call_difference, *paths.values()), tolerance=1e-3)
