"""HDMNet's matching of a query with the objects of its supports, beside its formula (hdmnet.md §4.3)."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.harness import Case, call_difference
from fsbench.methods.hdmnet.transformer import TEMPERATURE, Matching


def plain_matching(net: Matching, query: Tensor, source: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `net` does by the formula: all support tokens at once, those outside of the mask times 0."""
    q, k, v = net.project(query, source)
    scores = F.normalize(q, dim=3) @ F.normalize(k, dim=3).mT / TEMPERATURE
    shown = mask[:, None, None]
    matched = (scores * shown).sum(3).mean(1) / (mask.sum(1, keepdim=True) + 1e-9)
    return net.joined((scores.softmax(2) * shown) @ v), matched


def cases(device: torch.device, side: int = 60, shots: str = "1,5", kept: float = 0.25) -> Iterator[Case]:
    """Measure the finest of the three matchings, of maps of 60 x 60 (images of 473 pixels), by the number of shots.

    Args:
        device: where it computes.
        side: of the maps.
        shots: numbers of shots, with commas.
        kept: share of each support that its mask keeps.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net, tokens = Matching(64, 2).to(device).requires_grad_(False), side * side
    for number in map(int, shots.split(",")):
        query, source = (torch.randn(1, n * tokens, 64, device=device) for n in (1, number))
        mask = (torch.arange(tokens, device=device) < kept * tokens).float().repeat(number)[None]
        paths = {"plain": partial(plain_matching, net, query, source, mask), "ours": partial(net, query, source, mask)}
        what = f"HDMNet's matching, {side} x {side}, {number}-shot, {kept:.0%} of the supports kept"
        yield Case(what, paths, partial(call_difference, *paths.values()))
