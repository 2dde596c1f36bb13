"""The base of methods on the last stages of a frozen network: PFENet, BAM, HMNet and HDMNet.

Shapes: B episodes, N ways, K shots, S image side, (h, w) a query's original size, c channels.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.segmenter import Segmenter
from fsbench.methods.modules.frozen_pspnet import DilatedLayers
from fsbench.methods.modules.maps import resize_twice
from fsbench.methods.modules.masked_comparison import masked_layer4
from fsbench.methods.modules.pspnet import Features
from fsbench.methods.modules.stages import FrozenStages, frozen_features
from fsbench.networks.backbones.base import BackboneConfig


class LabelledStages(NamedTuple):
    """Backbone features of supports (b, c, ·, ·), with f3 computed from the masked f2, and the supports' masks."""

    features: Features
    mask: Tensor


class StageSegmenter(Segmenter):
    """Base of methods on a PSPNet's features f1 to f3 (layers 2 to 4), which resize predictions to the query's size.

    Attributes:
        vit_blocks: numbers of the blocks of the demo's ViT that stand for layers 2, 3 and 4, negative from the end.
            Features of the last blocks distinguish the base classes, and a head may learn these by heart instead of
            comparing query and supports.
    """

    backbone_type: ClassVar[Any] = staticmethod(frozen_features)
    vit_blocks: ClassVar[tuple[int, int, int]] = (-4, -2, -1)

    def __init__(self, backbone: BackboneConfig):
        super().__init__(backbone)
        if isinstance(self.backbone, FrozenStages):
            self.backbone.vit_blocks = self.vit_blocks

    def as_features(self, tensors: Any) -> Features:
        return as_features(tensors)

    def support(self, image: Features, mask: Tensor) -> LabelledStages:
        """Return a support's features, f3 recomputed by layer4 from f2 times the mask, with the mask (B, S, S)."""
        layer4 = self.backbone.last_layer if isinstance(self.backbone, DilatedLayers) else None
        return LabelledStages(masked_layer4(image, mask[:, None], layer4), mask)

    def join(self, supports: Iterator[LabelledStages]) -> LabelledStages:
        """Stack all shots of a way: features (B·K, c, ·, ·), an episode's shots together, and masks (B, K, S, S)."""
        shots = list(supports)
        levels = [
            torch.stack(level, 1).flatten(0, 1) for level in zip(*(known(s.features) for s in shots), strict=True)
        ]
        return LabelledStages(as_features(levels), torch.stack([shot.mask for shot in shots], 1))

    def resize(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize logits (b, c, ·, ·) to the side of the method's images, then to `size` (h, w).

        Under autocast the first resizing is in half precision.
        """
        return resize_twice(logits, self.context.side, size)


def check_dropout(share: float) -> None:
    """Raise SettingsError unless `share`, the share of dropped channels, is at least 0 and below 1."""
    if not 0 <= share < 1:
        raise SettingsError(f"dropout is {share}, expected a share from 0 to below 1; the authors' is 0.5")


def check_rates(**values: float) -> None:
    """Raise SettingsError, naming the setting, for a value that is negative or not finite."""
    for name, value in values.items():
        if not 0 <= value < float("inf"):
            raise SettingsError(f"{name} is {value}, expected 0 or more")


def as_features(levels: Sequence[Tensor]) -> Features:
    """Return three or four feature maps as `Features` (f1, f2, f3 and f4, or None for f4)."""
    return Features(levels[0], levels[1], levels[2], levels[3] if len(levels) > 3 else None)


def known(features: Features) -> tuple[Tensor, ...]:
    """Return the feature maps f1 to f4 without those that are None; f4 exists only with a base learner."""
    return tuple(level for level in features if level is not None)
