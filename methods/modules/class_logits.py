"""Logits of background and ways together, and what follows from them, for methods in which all classes compete."""

import torch
import torch.nn.functional as F
from torch import Tensor

INVALID = -1e4
"""Logit of a class without a pixel in the supports."""


def resize_logits(logits: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Resize token logits (N + 1, T) to (N + 1, h, w), bilinear without aligned corners."""
    return F.interpolate(logits.view(1, -1, *grid), size, mode="bilinear", align_corners=False)[0]


def one_against_rest(logits: Tensor) -> Tensor:
    """Turn logits (N + 1, h, w) of background and ways into (N, 2, h, w): each way against all others together."""
    ways = range(1, len(logits))
    rest = [torch.cat([logits[:way], logits[way + 1 :]]).logsumexp(0) for way in ways]
    return torch.stack([torch.stack([other, logits[way]]) for way, other in zip(ways, rest, strict=True)])
