"""IFA's local background, the slowest step of its head, beside a loop over positions (ifa.md §3)."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.harness import Case, call_difference, forward
from fsbench.methods.ifa.matching import LOCAL_SHARPNESS, local_background

CHANNELS, STRIDE = 1024, 8
"""Channels of ResNet's third layer in IFA's network."""


def by_position(x: Tensor, background: Tensor) -> Tensor:
    """Return the local background of one position after the other."""
    found = []
    for position in x.T:
        weights = (LOCAL_SHARPNESS * F.cosine_similarity(position[:, None], background, dim=0)).softmax(0)
        found.append((weights * background).sum(1))
    return torch.stack(found, 1)


def cases(device: torch.device, outside: float = 0.75, side: int = 160) -> Iterator[Case]:
    """Compare the local background of a query by one product of matrices and by a loop over its positions.

    --outside is the share of its positions that are surely background.
    """
    generator = torch.Generator().manual_seed(0)
    size = -(-side // STRIDE)
    x = torch.randn(CHANNELS, size * size, generator=generator).to(device)
    background = x[:, : max(round(outside * size * size), 1)].contiguous()
    paths = {
        "plain": forward(partial(by_position, x, background)),
        "ours": forward(partial(local_background, x, background)),
    }
    what = f"IFA's local background, {CHANNELS} channels, {size} x {size}, {outside:.0%} of them background"
    yield Case(what, paths, partial(call_difference, *paths.values()), tolerance=1e-3)
