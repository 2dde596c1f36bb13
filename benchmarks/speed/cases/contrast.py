"""ABCDFSS's slowest step, the contrast of positions with its gradient, beside its formula (abcdfss.md §4)."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.harness import Case, call_difference
from fsbench.methods.abcdfss.head import contrast

STRIDES = (8, 16, 31)
"""Pixels of the image a position of ResNet-50's scales, the last of 400 pixels rounded up."""


def by_definition(a: Tensor, b: Tensor) -> Tensor:
    """Return the contrast with the products of all positions of all maps at once."""
    first, second = (x.flatten(2) for x in (a, b))
    scores = first.mT @ second / 0.5
    return (scores.logsumexp(2) - scores.diagonal(dim1=1, dim2=2)).mean()


def gradient(path: str, a: Tensor, b: Tensor) -> Tensor:
    """Return the gradient of the contrast by both maps."""
    leaves = [x.detach().requires_grad_() for x in (a, b)]
    (by_definition if path == "plain" else contrast)(*leaves).backward()
    return torch.stack([x.grad for x in leaves if x.grad is not None])


def cases(device: torch.device, shot: int = 1, side: int = 400) -> Iterator[Case]:
    """Compare the gradient of the contrast of the supports' views, at each scale of ResNet-50.

    --shot is the number of supports; each has two views.
    """
    generator = torch.Generator().manual_seed(0)
    for stride in STRIDES:
        size = -(-side // stride)
        maps = (torch.randn(2 * shot, 64, size, size, generator=generator).to(device) for _ in range(2))
        given = [F.normalize(x, dim=1) for x in maps]
        paths = {name: partial(gradient, name, *given) for name in ("plain", "ours")}
        what = f"ABCDFSS's contrast with its gradient, {2 * shot} maps of 64 channels, {size} x {size}"
        yield Case(what, paths, partial(call_difference, *paths.values()), tolerance=1e-3)
