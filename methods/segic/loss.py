"""SegIC's loss, taken at points where the answer is least sure (segic.md §10).

Shapes: N masks, P points, g side of the frozen network's grid, S image side.
"""

import random
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

POINTS = 112 * 112
"""Points of a mask at which the loss is taken."""
LOOKED_AT = 3 * POINTS
"""Drawn points among which the unsure ones are looked for."""
UNSURE = POINTS * 3 // 4
"""Points of a mask that are unsure; the others are drawn anew."""

DrawPoints = Callable[[int], Tensor]
"""Draws that many points of each mask: (N, points, 2), x and y from 0 to below 1."""


def episode_points(streams: Sequence[str]) -> DrawPoints:
    """Return what draws the points of a mask of each episode from a stream of its own."""
    own = [torch.Generator().manual_seed(random.Random(stream).getrandbits(63)) for stream in streams]
    return lambda count: torch.stack([torch.rand(count, 2, generator=stream) for stream in own])


def values_at(maps: Tensor, points: Tensor) -> Tensor:
    """Return the values (N, P) of maps (N, 1, h, w) at points (N, P, 2) in parts of the map, bilinear, 0 outside."""
    return F.grid_sample(maps, 2 * points[:, None] - 1, mode="bilinear", align_corners=False)[:, 0, 0]


def unsure_points(logits: Tensor, draw: DrawPoints) -> Tensor:
    """Return the points (N, P, 2) of the loss: drawn ones whose logits (N, 1, 4g, 4g) are near 0, then others."""
    with torch.no_grad():
        drawn = draw(LOOKED_AT).to(logits)
        order = (-values_at(logits, drawn).abs()).topk(UNSURE, dim=1).indices
        unsure = drawn.gather(1, order[..., None].expand(-1, -1, 2))
        return torch.cat([unsure, draw(POINTS - UNSURE).to(logits)], 1)


def point_losses(logits: Tensor, masks: Tensor, draw: DrawPoints) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy and the dice loss of answers, each the mean over the masks.

    Args:
        logits: (N, 1, 4g, 4g).
        masks: (N, S, S) of 0 and 1.
        draw: draws points, first those that are looked at, then the others.
    """
    points = unsure_points(logits, draw)
    truth = values_at(masks[:, None].to(logits), points)
    found = values_at(logits, points)
    entropy = F.binary_cross_entropy_with_logits(found, truth, reduction="none").mean(1)
    p = found.sigmoid()
    dice = 1 - (2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum(1) + 1)
    return entropy.mean(), dice.mean()
