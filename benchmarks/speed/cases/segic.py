"""SegIC's similarity of prototypes and every pixel of a query, beside its formula (segic.md §4)."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.harness import Case, call_difference
from fsbench.methods.segic.correspondence import similarity


def plain_similarity(prototype: Tensor, query: Tensor, side: int) -> Tensor:
    """Return what `similarity` does by the formula: all channels enlarged at once, each pixel brought to length 1."""
    prototype, quarter = prototype[:, 0], (side // 4, side // 4)
    pixels = F.interpolate(query[None], quarter, mode="bilinear", align_corners=False)[0]
    cosine = torch.einsum("nc,cyx->nyx", F.normalize(prototype, dim=1, eps=1e-8), F.normalize(pixels, dim=0, eps=1e-8))
    return F.interpolate(cosine[:, None], (side, side), mode="bilinear", align_corners=False)


def cases(device: torch.device, side: int = 896, patch: int = 14, channels: int = 1024) -> Iterator[Case]:
    """Measure the similarity of one and of five prototypes.

    Args:
        device: where it computes.
        side: of the image in pixels.
        patch: side of a patch in pixels.
        channels: of the features.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    query = torch.randn(channels, side // patch, side // patch, device=device)
    for count in (1, 5):
        prototype = torch.randn(count, 1, channels, device=device)
        arguments = (prototype, query, side)
        paths = {"plain": partial(plain_similarity, *arguments), "ours": partial(similarity, *arguments)}
        what = f"SegIC's similarity, {channels} channels, {side} pixels, {count} prototype{'s' * (count > 1)}"
        yield Case(what, paths, partial(call_difference, *paths.values()))
