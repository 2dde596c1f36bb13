"""Scores by which FSSDINO's authors ask which layer of a backbone to take, for their goldens (fssdino.md §6).

Shapes: B images, M classes beside the background, which is class 0; C channels, (h, w) the grid of patches, P maps of a
class.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.methods.fssdino import class_features, gram_matrix

Metric = Literal["cosine", "euclidean"]


def register_ratio(tokens: Tensor, registers: int = 4) -> float:
    """Return the mean length of registers over that of patches, for tokens (B, 1 + registers + T, C)."""
    lengths = tokens.norm(dim=-1)
    return float(lengths[:, 1 : 1 + registers].mean() / (lengths[:, 1 + registers :].mean() + 1e-8))


def fisher_ratio(features: Tensor, masks: Tensor, metric: Metric = "cosine", with_background: bool = True) -> float:
    """Return how far the classes of predicted masks lie apart, over how far their members do.

    Args:
        features: of the query (1, C, h, w).
        masks: predicted (1, M + 1, h, w) bool.
        metric: 1 − cosine, or the squared Euclidean distance.
        with_background: count class 0.

    Returns:
        The ratio; 0 with fewer than two classes.
    """
    every = class_features(features, masks)[0 if with_background else 1 :]
    groups = [own for own in every if len(own)]
    if len(groups) < 2:
        return 0.0
    means = torch.stack([own.mean(0) for own in groups])
    sizes = torch.tensor([float(len(own)) for own in groups], device=means.device)
    centre = (sizes[:, None] * means).sum(0) / sizes.sum()
    within = torch.stack([_distance(own, mean, metric).sum() for own, mean in zip(groups, means, strict=True)]).sum()
    between = (sizes * _distance(means, centre, metric)).sum()
    return float(between / (within + 1e-6))


def gram_distance(query: Tensor, masks: Tensor, supports: Tensor, support_masks: Tensor) -> float:
    """Return the mean Frobenius distance of Gram matrices over the classes that both sides show, background aside.

    Args:
        query: (1, C, h, w).
        masks: its predicted masks (1, M + 1, h, w) bool.
        supports: (B, C, h, w).
        support_masks: (B, M + 1, h, w) bool.

    Returns:
        The distance; 1 where no class is shown by both.
    """
    pairs = zip(class_features(query, masks)[1:], class_features(supports, support_masks)[1:], strict=True)
    distances = [(gram_matrix(there) - gram_matrix(here)).norm() for here, there in pairs if len(here) and len(there)]
    return float(torch.stack(distances).mean()) if distances else 1.0


def map_entropy(maps: list[Tensor]) -> float:
    """Return the mean entropy of each class's maps (P, h, w), Gram map included, by softmax; 1 without a class."""
    entropies = [-(p * (p + 1e-8).log()).sum(0).mean() for p in (own.softmax(0) for own in maps)]
    return float(torch.stack(entropies).mean()) if entropies else 1.0


def _distance(x: Tensor, centre: Tensor, metric: Metric) -> Tensor:
    """Return the distances (n,) of vectors (n, C) from a centre (C,)."""
    if metric == "cosine":
        return 1 - F.cosine_similarity(x, centre[None], dim=1)
    return (x - centre).square().sum(1)
