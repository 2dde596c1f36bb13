"""Images of a training batch that go through the frozen backbone together."""

from collections.abc import Callable, Hashable
from typing import Any

import torch

from fsbench.data.batch import EpisodeBatch
from fsbench.networks.backbones.base import FrozenBackbone

TOGETHER = 16
"""Most images of a pass: enough to fill a GPU; by its shapes 16 of 700 pixels take ViT-S/14 some 2.5 GiB."""


class ImagesTogether:
    """Encodes images of a batch on demand, up to 16 in one pass of the network.

    A pass takes the requested image and further images of the batch that the backbone's cache does not have. The
    features of an image are returned once and then dropped here; the backbone's cache keeps those of images that recur.

    Args:
        backbone: the frozen network, with its cache.
        batch: the batch, whose images are requested by row number.
        feature_key: function from a row number to the key under which the cache has the image's features.

    Attributes:
        images: keys of the images that were encoded in a pass. The features of these images may differ by rounding from
            those of an image encoded alone.
    """

    def __init__(self, backbone: FrozenBackbone, batch: EpisodeBatch, feature_key: Callable[[int], Hashable]):
        self.backbone = backbone
        self.batch = batch
        self.feature_key = feature_key
        self._encoded: dict[int, Any] = {}
        self._begun: set[int] = set()
        self.images: set[str] = set()

    def encode(self, row: int) -> Any:
        """Return the frozen features of the image in row `row`; up to rounding, those of the image encoded alone."""
        if row not in self._encoded:
            keys, knows = self.batch.image_keys, self.backbone.cache.knows
            new = [other for other in range(len(keys)) if other not in self._begun]
            left = [other for other in new if other != row and not knows(self.feature_key(other))]
            rows = [row, *left][:TOGETHER]
            self._begun.update(rows)
            self.images.update(keys[other] for other in rows)
            pixels = torch.stack([self.batch.pixels(other) for other in rows])
            self._encoded.update(zip(rows, self.backbone.encode_together(pixels), strict=True))
        return self._encoded.pop(row)
