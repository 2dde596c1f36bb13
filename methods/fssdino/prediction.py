"""The prediction of FSSDINO from feature maps: prototypes, Gram maps, scores of classes (fssdino.md §2, §3).

Shapes: B support images, M classes beside the background, which is class 0; C channels, (h, w) the grid of patches, S
image side, P prototypes of a class.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.networks.ops.cosine_kmeans import Clusters, cosine_kmeans


class Draws:
    """The random draws of k-means: first centres, and new ones for empty clusters.

    Args:
        seed: of NumPy's legacy generator, and from it of torch's; one number or several.
    """

    def __init__(self, seed: int | tuple[int, ...]):
        self.numpy = np.random.RandomState(seed)
        self.torch = torch.Generator().manual_seed(int(np.random.default_rng(seed).integers(2**31)))

    def rows(self, count: int, chosen: int) -> Tensor:
        """Draw `chosen` of `count` rows without repeats."""
        return torch.from_numpy(self.numpy.choice(count, chosen, replace=False).astype(np.int64))


def to_grid(maps: Tensor, height: int, width: int) -> Tensor:
    """Bring label maps or masks (B, M, S, S), uint8 or bool, to the grid, nearest (§2)."""
    return F.interpolate(maps.byte(), (height, width), mode="nearest").to(maps.dtype)


def class_features(features: Iterable[Tensor], masks: Tensor) -> list[Tensor]:
    """Return the features (n, C) of each class, support by support and row by row (§2).

    Args:
        features: B of (C, h, w), of which one is held at a time.
        masks: (B, M + 1, h, w) bool.
    """
    rows: list[list[Tensor]] = [[] for _ in masks[0]]
    for one, shown in zip(features, masks, strict=True):
        by_place = one.permute(1, 2, 0)
        for own, mask in zip(rows, shown, strict=True):
            own.append(by_place[mask])
    return [torch.cat(rows.pop(0)) for _ in masks[0]]  # a class's parts go when they are joined


def class_prototypes(features: Tensor, clusters: int, draws: Draws) -> tuple[Tensor, Clusters | None]:
    """Return the prototypes (P, C) of a class's features (n, C), and the k-means that they come from (§3.1).

    With fewer features than clusters, they are the prototypes, and nothing is drawn.
    """
    if len(features) < clusters:
        return features, None
    found = cosine_kmeans(features, draws.rows(len(features), clusters).to(features.device), draws.torch)
    return found.centres, found


def cosine_maps(prototypes: Tensor, query: Tensor) -> Tensor:
    """Return the cosines (P, h, w) of prototypes (P, C) with a query's features (C, h, w) (§3.2)."""
    return torch.einsum("pc,chw->phw", F.normalize(prototypes, dim=1), F.normalize(query, dim=0))


def gram_matrix(features: Tensor) -> Tensor:
    """Return the mean outer product (C, C) of a class's unit features (n, C) (§3.3)."""
    directions = F.normalize(features, dim=1)
    return directions.T @ directions / len(features)


def gram_map(gram: Tensor, query: Tensor) -> Tensor:
    """Return the quadratic form (h, w) of a query's raw features (C, h, w), scaled to 0..1 over the grid (§3.3)."""
    values = torch.einsum("chw,chw->hw", torch.einsum("cd,dhw->chw", gram, query), query)
    low, high = values.min(), values.max()
    return (values - low) / (high - low + 1e-8)


@dataclass(frozen=True)
class SupportClass:
    """All that a prediction takes of the supports of one class.

    Attributes:
        prototypes: (P, C).
        gram: matrix (C, C).
        kmeans: the clusters, None where the prototypes are features themselves.
    """

    prototypes: Tensor
    gram: Tensor
    kmeans: Clusters | None

    def compare(self, query: Tensor) -> "ClassMaps":
        """Compare a query (C, h, w) with the class (§3.2, §3.3)."""
        return ClassMaps(self.prototypes, cosine_maps(self.prototypes, query), gram_map(self.gram, query))


@dataclass(frozen=True)
class ClassMaps:
    """How alike a query is to one class.

    Attributes:
        prototypes: (P, C).
        cosines: (P, h, w).
        gram: (h, w).
    """

    prototypes: Tensor
    cosines: Tensor
    gram: Tensor


def support_classes(features: list[Tensor], clusters: int, draws: Draws) -> list[SupportClass | None]:
    """Return the prototypes and the Gram matrix of the features (n, C) of every class; None for a class without any
    (§3.1, §3.3)."""
    found: list[SupportClass | None] = []
    for own in features:
        if not len(own):
            found.append(None)
            continue
        prototypes, kmeans = class_prototypes(own, clusters, draws)
        found.append(SupportClass(prototypes, gram_matrix(own), kmeans))
    return found


def compare_classes(query: Tensor, classes: list[SupportClass | None]) -> list[ClassMaps | None]:
    """Compare a query (C, h, w) with every class; None for a class without pixels in the supports (§3.2, §3.3)."""
    return [None if own is None else own.compare(query) for own in classes]


def class_scores(maps: list[ClassMaps | None], size: tuple[int, int]) -> Tensor:
    """Return the scores (M + 1, H, W) of the classes: mean times largest of their maps; −∞ without pixels (§3.4)."""
    known = next((own for own in maps if own is not None), None)
    empty = torch.full(size, -torch.inf, device=None if known is None else known.gram.device)
    scores = []
    for own in maps:
        if own is None:
            scores.append(empty)
            continue
        every = torch.cat([own.cosines, own.gram[None]])[None]
        full = F.interpolate(every, size, mode="bilinear", align_corners=False)[0]
        scores.append(full.mean(0) * full.amax(0))
    return torch.stack(scores)


def to_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (M, H, W) to (M, *size) by taking pixels, as the prediction is brought to the query's own (§3.5)."""
    return F.interpolate(maps[None].float(), size, mode="nearest-exact")[0]
