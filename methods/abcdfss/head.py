"""The small network that is fitted at each level, its losses and its fitting (abcdfss.md §4, §5).

Shapes: M maps, C channels, (h, w) the plane of a level, P = h·w; K shots, V views.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

PRODUCTS = 2**22
"""Most products of two positions that are held at a time."""


class AdaptedHead(nn.Module):
    """Two 1x1 convolutions with BatchNorm between them, which adapt the features of one level (§5).

    Args:
        channels: number of input channels, equal to that of the level's features.
        width: channels of the output.
    """

    def __init__(self, channels: int, width: int = 64):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 1)
        self.bn = nn.BatchNorm2d(width)
        self.linear = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        adapted: Tensor = self.linear(self.bn(self.conv(x)).relu())
        return adapted


class _Contrast(torch.autograd.Function):
    """Sum over maps of a map's contrast of positions, with its gradient, a block of positions at a time."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, temperature: float) -> Tensor:
        ctx.gradients = torch.empty_like(a), torch.zeros_like(b)
        total = a.new_zeros(())
        rows = max(1, PRODUCTS // a.shape[1])
        for one, other, by_one, by_other in zip(a, b, *ctx.gradients, strict=True):
            for start in range(0, len(one), rows):
                block, own = one[start : start + rows], other[start : start + rows]
                scores = block @ other.T / temperature
                normaliser = scores.logsumexp(1, keepdim=True)
                total += (normaliser[:, 0] - (block * own).sum(1) / temperature).sum()
                shares = (scores - normaliser).exp_()
                by_one[start : start + rows] = (shares @ other - own) / temperature
                by_other += shares.T @ block / temperature
                by_other[start : start + rows] -= block / temperature
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        by_a, by_b = ctx.gradients
        return gradient * by_a, gradient * by_b, None


def contrast(a: Tensor, b: Tensor, temperature: float = 0.5) -> Tensor:
    """Return the mean InfoNCE loss (scalar) of each position of `a` against all positions of `b` (§4.1).

    No matrix of all pairs of positions is kept for the gradient: the memory does not grow with the number of maps.

    Args:
        a, b: M feature maps each (M, C, h, w), of unit length over the channels.
        temperature: number by which the dot products are divided.
    """
    rows = [x.flatten(2).mT.contiguous() for x in (a, b)]
    total: Tensor = _Contrast.apply(*rows, temperature)
    return total / (rows[0].shape[0] * rows[0].shape[1])


def moment_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return how far the mean and the variance over positions of two feature maps (M, C, h, w) differ, a scalar.

    The distance is the sum of the absolute differences of means and of variances, averaged over maps and channels (the
    authors' `keepvar`, §4.2).
    """
    a, b = a.flatten(2), b.flatten(2)
    return (a.mean(2) - b.mean(2)).abs().mean() + (a.var(2) - b.var(2)).abs().mean()


def prototype_loss(a: Tensor, b: Tensor, masks: Tensor, views: int) -> Tensor:
    """Return a loss (scalar) that draws foreground prototypes of `a` and `b` together, and away from background (§4.3).

    Args:
        a, b: the same sheared supports encoded in two ways, features (K·V, C, h, w), shot by shot.
        masks: (K·V, h, w) soft foreground masks of the sheared supports.
        views: V, number of sheared copies of a support; a prototype is pooled over the shots of one copy.
    """
    ours, others = (x.unflatten(0, (-1, views)) for x in (a, b))
    inside = masks.unflatten(0, (-1, views))[:, :, None]
    foreground, other = (_pooled(x, inside) for x in (ours, others))
    background = _pooled(others, 1 - inside)
    agreement = F.cosine_similarity(foreground, other, dim=1)
    return F.softplus(F.cosine_similarity(foreground, background, dim=1) - agreement).mean()


def _pooled(x: Tensor, weights: Tensor) -> Tensor:
    """Return the means (V, C) of features (K, V, C, h, w) by weights (K, V, 1, h, w)."""
    return (x * weights).sum((0, 3, 4)) / (weights.sum((0, 3, 4)) + 1e-8)


@dataclass(frozen=True)
class LevelViews:
    """Features of one level in two forms: features of the image, then sheared, and features of the sheared image.

    Attributes:
        query: both forms of the query's features, (V, C, h, w) each, for V shears.
        support: both forms of the K supports' features, (K·V, C, h, w) each, shot by shot.
        masks: (K·V, h, w), soft foreground masks of the sheared supports.
    """

    query: tuple[Tensor, Tensor]
    support: tuple[Tensor, Tensor]
    masks: Tensor

    def loss(self, head: AdaptedHead, temperature: float) -> Tensor:
        """Return the fitting loss (scalar) of a head on the sheared features of query and supports (§4).

        The loss is the sum of the contrast and moment losses of query and supports, and of the prototype loss of the
        supports. The head sees each of the four feature stacks in a pass of its own, with separate BatchNorm
        statistics.
        """
        q, q_view, s, s_view = (F.normalize(head(x), dim=1, eps=1e-12) for x in (*self.query, *self.support))
        return (
            contrast(q, q_view, temperature)
            + moment_distance(q, q_view)
            + contrast(s, s_view, temperature)
            + moment_distance(s, s_view)
            + prototype_loss(s, s_view, self.masks, len(q))
        )


def small_masks(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Resize masks (M, H, W) to a level's size (M, h, w): bilinear, corners not aligned (§4)."""
    return F.interpolate(masks[:, None], tuple(size), mode="bilinear", align_corners=False)[:, 0]


def fit(head: AdaptedHead, level: LevelViews, epochs: int, learning_rate: float, temperature: float) -> Tensor:
    """Fit a head in place by gradient descent without momentum, `epochs` steps on the views of one level (§4).

    Returns:
        The loss before each step (epochs,).
    """
    optimizer = torch.optim.SGD(head.parameters(), learning_rate)
    losses = []
    for _ in range(epochs):
        optimizer.zero_grad()
        loss = level.loss(head, temperature)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)
