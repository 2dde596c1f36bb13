"""k-means with the cosine as similarity and plain means as centres, as FSSDINO runs it (fssdino.md §3.1).

Written by broadcasting, the distances are most of an episode with many tokens (fssdino.md §8 has an estimate); as a
product of unit vectors they take a part of that.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

TOLERANCE = 1e-4
"""The loop ends when the square of the centres' summed shifts is below this."""
LIMIT = 1000
"""Largest number of passes; the authors' program has none."""


@dataclass(frozen=True)
class Clusters:
    """Result of a k-means of n vectors.

    Attributes:
        centres: cluster centres (k, C).
        labels: (n,) int64, index of each vector's nearest centre before the last update of the centres.
        passes: number of iterations; 0 for one cluster.
        converged: False if the limit of iterations was reached.
    """

    centres: Tensor
    labels: Tensor
    passes: int
    converged: bool = True


def cosine_kmeans(x: Tensor, initial: Tensor, generator: torch.Generator, limit: int = LIMIT) -> Clusters:
    """Cluster vectors by k-means with cosine similarity; a new centre is the mean of its cluster's raw vectors.

    Args:
        x: vectors (n, C), none of which may be zero.
        initial: (k,) int64, rows of x that are the first centres.
        generator: draws the row of x that an empty cluster gets, on the CPU.
        limit: largest number of iterations.
    """
    directions = F.normalize(x, dim=1, eps=0)
    return _loop(
        x, initial, generator, limit, lambda centres: (directions @ F.normalize(centres, dim=1, eps=0).T).argmax(1)
    )


def cosine_kmeans_reference(x: Tensor, initial: Tensor, generator: torch.Generator, limit: int = LIMIT) -> Clusters:
    """Cluster vectors like `cosine_kmeans`, by the distances 1 − cosine of all pairs at once; a reference for tests."""

    def nearest(centres: Tensor) -> Tensor:
        lengths = x.norm(dim=1)[:, None] * centres.norm(dim=1)[None]
        distance = 1 - (x[:, None] * centres[None]).sum(-1) / lengths
        return distance.argmin(1)

    return _loop(x, initial, generator, limit, nearest)


def _loop(
    x: Tensor, initial: Tensor, generator: torch.Generator, limit: int, nearest: Callable[[Tensor], Tensor]
) -> Clusters:
    """Assign and average until the centres stand; `nearest` maps centres (k, C) to the nearest of each vector (n,)."""
    clusters = len(initial)
    labels = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    if clusters == 1:
        return Clusters(x.mean(0, keepdim=True), labels, passes=0)
    centres = x[initial]
    for number in range(1, limit + 1):
        labels = nearest(centres)
        before, centres = centres, _means(x, labels, clusters, generator)
        if float((centres - before).norm(dim=1).sum()) ** 2 < TOLERANCE:
            return Clusters(centres, labels, number)
    return Clusters(centres, labels, limit, converged=False)


def _means(x: Tensor, labels: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Return the mean of each cluster's vectors, of a random vector for an empty one."""
    rows = []
    for cluster in range(clusters):
        inside = x[labels == cluster]
        drawn = len(inside) == 0
        rows.append(x[int(torch.randint(len(x), (1,), generator=generator))] if drawn else inside.mean(0))
    return torch.stack(rows)
