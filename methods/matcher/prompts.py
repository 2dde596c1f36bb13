"""Random subsets of matched points as prompts: k-means++ and samples, by the authors' draws (matcher.md §4, §5)."""

from itertools import combinations
from random import Random

import torch
from torch import Tensor

FEW = 8
"""Points of which no more than this are combined in all ways (§5)."""
STEPS = 100
"""Steps of Lloyd's algorithm at most (§4)."""


def cluster_points(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return centres of clusters of points, by k-means++ (§4).

    Args:
        points: (n, 2) integers on the CPU, without repetition.
        count: number of clusters, as many as points at most.
        generator: of first centres, on the CPU.

    Returns:
        (min(count, n), 2) int64, truncated.
    """
    x = points.float()
    count = min(count, len(x))
    while True:
        centres = _first_centres(x, count, generator)
        for _ in range(STEPS):
            nearest = torch.cdist(x, centres).argmin(1)
            moved = torch.stack(
                [x[nearest == i].mean(0) if bool((nearest == i).any()) else centre for i, centre in enumerate(centres)]
            )
            stays = torch.equal(moved, centres)
            centres = moved
            if stays:
                break
        if len(nearest.unique()) == count:
            return centres.long()


def _first_centres(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw the first centres, each with a probability that grows with its squared distance to those before."""
    centres = x[torch.randint(len(x), (1,), generator=generator)]
    for _ in range(count - 1):
        squared = (torch.cdist(x, centres).amin(1) + 1e-6) ** 2
        drawn = torch.multinomial(squared / squared.sum(), 1, generator=generator)
        centres = torch.cat([centres, x[drawn]])
    return centres


def sample_points(points: Tensor, sizes: tuple[int, int], most: int, random: Random) -> list[Tensor]:
    """Return subsets of points, grouped by their size (§5).

    Args:
        points: (n, 2).
        sizes: smallest and largest number of points in a subset.
        most: subsets of a size that are drawn where there are many points; of few points all are taken.
        random: of the draws.

    Returns:
        For each size i a tensor (subsets, i, 2).
    """
    count = len(points)
    groups = []
    for size in range(min(sizes[0], count), min(sizes[1], count) + 1):
        if count > FEW:
            subsets = [random.sample(range(count), size) for _ in range(most)]
        else:
            subsets = sorted(map(list, combinations(range(count), size)), key=lambda subset: subset[::-1])
        groups.append(points[torch.tensor(subsets)])
    return groups
