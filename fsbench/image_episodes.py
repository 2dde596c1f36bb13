"""Episodes of few-shot classification as methods get them: images, or their places in the data set's list.

Shapes: N ways, K shots, q queries a class, S image side.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fsbench.episodes import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class ImageEpisode:
    """One task.

    Attributes:
        index: number in the manifest.
        seed: of whatever a method draws; together with `index` it is all that this may depend on.
        classes: (N,) numbers of the classes in the data set, from 1. A label is a place in it, from 0.
        support, query: (N, K) and (N, q) int64 places of the images in the data set, way by way.
        images: uint8 RGB (N·K + N·q, 3, S, S), supports first; None for methods that ask for features.
    """

    index: int
    seed: int
    classes: tuple[int, ...]
    support: Tensor
    query: Tensor
    images: Tensor | None = None

    @property
    def ways(self) -> int:
        return len(self.classes)

    def labels(self, device: torch.device) -> Tensor:
        """Of the supports, (N·K,) int64."""
        return torch.arange(self.ways, device=device).repeat_interleave(self.support.shape[1])

    def pixels(self) -> tuple[Tensor, Tensor]:
        """Supports and queries, normalised, float32."""
        assert self.images is not None, "the method asked for features only"
        return normalised(self.images[: self.support.numel()]), normalised(self.images[self.support.numel() :])

    def to(self, *args: Any, **kwargs: Any) -> "ImageEpisode":
        return self if self.images is None else replace(self, images=self.images.to(*args, **kwargs))


def normalised(images: Tensor) -> Tensor:
    """uint8 (B, 3, S, S) -> float32 with the ImageNet statistics, for every backbone (fort.md §3)."""
    mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (images.float() / 255 - mean) / std
