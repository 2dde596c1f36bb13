"""Clusters of average linkage (UPGMA), cut at a distance: the partition alone.

scikit-learn merges one pair after another, in one thread of the CPU: half a second for the 4096 tokens of an image
(insid3.md §7), which nothing beats there. On a GPU, where the distances are, another way leads to the same partition:
average linkage is reducible, so when two clusters that are each other's nearest merge, no other pair of nearest
clusters changes, and all such pairs can merge at once, in a few dozen rounds of matrix operations.
"""

import numpy as np
import torch
from torch import Tensor


def average_linkage(distances: Tensor, cut: float) -> Tensor:
    """Cluster n points by average linkage: merge the nearest clusters while their mean distance is below `cut`.

    Args:
        distances: (n, n), of which the entries above the diagonal are read; means are calculated in float64.
        cut: no merge is made at this distance or beyond.

    Returns:
        Cluster labels (n,) int64 from 0; which cluster has which number is not defined.
    """
    return linkage_by_tree(distances, cut) if distances.device.type == "cpu" else linkage_by_rounds(distances, cut)


def linkage_by_tree(distances: Tensor, cut: float) -> Tensor:
    """Cluster n points by average linkage with scikit-learn, on the CPU.

    Args:
        distances: (n, n), of which the entries above the diagonal are read.
        cut: mean distance from which on clusters are not merged.

    Returns:
        Cluster labels (n,) int64 from 0.
    """
    from sklearn.cluster import AgglomerativeClustering  # a second of imports

    if len(distances) < 2:  # which scikit-learn refuses
        return torch.zeros(len(distances), dtype=torch.int64, device=distances.device)
    clustering = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=cut
    )
    labels = clustering.fit_predict(distances.detach().cpu().numpy())
    return torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(distances.device)


def linkage_by_rounds(distances: Tensor, cut: float) -> Tensor:
    """Cluster n points by average linkage on any device: in each round all pairs of mutually nearest clusters merge.

    Args:
        distances: (n, n), of which the entries above the diagonal are read.
        cut: mean distance from which on clusters are not merged.

    Returns:
        Cluster labels (n,) int64 from 0.
    """
    upper = distances.detach().double().triu(1)
    current = upper + upper.T
    current.fill_diagonal_(torch.inf)
    sizes = current.new_ones(len(current))
    labels = torch.arange(len(current), device=current.device)
    while len(current) > 1:
        nearest, partner = current.min(1)
        rows = torch.arange(len(current), device=current.device)
        mutual = (partner[partner] == rows) & (nearest < cut)
        if not bool(mutual.any()):
            break
        first = mutual & (rows < partner)
        kept = ~mutual | first  # the second of a pair goes into the first
        target = torch.where(mutual & ~first, partner, rows)
        number = kept.cumsum(0) - 1
        current = _merge(current, sizes, first, partner)[kept][:, kept]
        sizes = torch.where(first, sizes + sizes[partner], sizes)[kept]
        current.fill_diagonal_(torch.inf)
        labels = number[target[labels]]
    return labels


def _merge(current: Tensor, sizes: Tensor, first: Tensor, partner: Tensor) -> Tensor:
    """Replace rows and columns `first` by their means with those of their partners, weighted by the sizes (UPGMA)."""
    own = first.nonzero()[:, 0]
    other = partner[own]
    share = (sizes[own] / (sizes[own] + sizes[other]))[:, None]
    current = current.clone()
    current[own] = share * current[own] + (1 - share) * current[other]
    current[:, own] = share.T * current[:, own] + (1 - share.T) * current[:, other]
    upper = current.triu(1)
    return upper + upper.T  # the two orders of summation may differ in the last digit
