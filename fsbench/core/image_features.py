"""The features that a method gets of images, each of which is encoded alone, once, and kept.

In training on a GPU, which one image cannot fill, several are encoded together.

Shapes: B images, S image side.
"""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from fsbench.base.tensor_cache import digest
from fsbench.core.images_together import ImagesTogether
from fsbench.core.method import Method
from fsbench.data.batch import EpisodeBatch
from fsbench.networks.backbones.base import autocast_dtype
from fsbench.networks.backbones.timm_networks import frozen_tokens

Features = Any
"""The frozen network's features of B images: a tensor (B, …), or a tuple of such tensors."""


class ImageFeatures(Method):
    """Base class of segmentation methods: encodes images with the frozen network and caches their features.

    By default the features are tokens (L, 1 + T, C): those of a vision transformer's L blocks, or a convolutional
    network's maps at 1/16 of the image. A subclass may set another `backbone_type`: `FrozenViT` for methods that need a
    transformer, `FrozenPyramid` for maps at four scales, both in `fsbench.networks.backbones.timm_networks`.
    """

    backbone_type: ClassVar[Any] = staticmethod(frozen_tokens)
    raw_images: bool = False
    """True for methods whose network takes images (3, S, S) uint8, which it prepares by itself; photos (3, H, W) where
    the method asks for these (`Needs.hints`)."""
    sees_pixels: bool = False
    """True for methods whose network sees query and supports together: features are then the pixels themselves."""
    kept_as: str = "features"
    """Kind under which features are kept; a property where they depend on more than the image."""
    blacks_out: bool = False
    """True for methods that look at supports whose background is black, and so encode an image anew for each mask."""
    trains_features: bool = False
    """True where training passes change the network's features, as BatchNorm in training mode does."""
    _together: ImagesTogether | None = None

    # What a method says ---------------------------------------------------------------------------------------------

    def encode_image(self, pixels: Tensor) -> Any:
        """Return the features of one normalised image (3, S, S); by default the frozen network's features.

        If a method overrides this, its training images are encoded one at a time, also on a GPU (see
        `trains_on_backbone`).
        """
        return self.backbone.encode(pixels)

    def as_query(self, encoded: Any, image: Tensor) -> Any:
        """Return what is cached of a query image: its features, unless overridden.

        Args:
            encoded: features of the image, as `encode_image` returns them.
            image: pixels of the image (3, S, S).
        """
        return encoded

    def as_support(self, encoded: Any) -> Any:
        """Return what is cached of a support image: its features `encoded`, from `encode_image`, unless overridden."""
        return encoded

    def as_features(self, tensors: tuple[Tensor, ...] | Tensor) -> Features:
        """Convert cached tensors to the form in which the method reads features; by default unchanged."""
        return tensors

    def training_features(self, pixels: Tensor, supports: bool) -> Features:
        """Return the features of training images (B, 3, S, S); called instead of the cache if `trains_features` is set.

        Args:
            pixels: the images, normalised.
            supports: True if the images are supports, False if they are queries.
        """
        raise NotImplementedError

    def network_of(self, pixels: Tensor) -> torch.nn.Module | None:
        """Return the frozen network that encodes images of the size of `pixels` (3, S, S); None if it is trained."""
        return self.backbone.network(pixels)

    # What the loops over ways ask for -------------------------------------------------------------------------------

    def features(self, batch: EpisodeBatch, rows: Tensor, supports: bool = False) -> Features:
        """Return the features of the images in rows `rows` (B,) of a batch.

        Args:
            batch: the batch with the images.
            rows: row numbers of images of one role: queries, or the supports of one shot.
            supports: True if the images are supports.
        """
        if self.training and self.trains_features:
            return self.training_features(torch.stack([batch.pixels(row) for row in rows.tolist()]), supports)
        return self.as_features(together([self._kept(batch, row, supports) for row in rows.tolist()]))

    def support_features(self, batch: EpisodeBatch, rows: Tensor, masks: Tensor) -> Features:
        """Return the features of the images in rows `rows` (B,) of a batch as supports.

        Args:
            batch: the batch with the images.
            rows: row numbers of the supports.
            masks: (B, S, S), the object's pixels; a method with `blacks_out` sees the image with all other pixels
                black.
        """
        if not self.blacks_out:
            return self.features(batch, rows, supports=True)
        images = [batch.pixels(row) * mask for row, mask in zip(rows.tolist(), masks, strict=True)]
        if self.encodes_together:
            return self.as_features(together([flat(one) for one in self.backbone.encode_together(torch.stack(images))]))
        found = []
        for row, mask, image in zip(rows.tolist(), masks, images, strict=True):
            key = *self.feature_key(batch, row), digest(mask)
            with torch.inference_mode(False), torch.no_grad():  # as below
                found.append(self.backbone.cache.get("objects", key, partial(self._flat_features, image)))
        return self.as_features(together(found))

    def feature_key(self, batch: EpisodeBatch, row: int) -> tuple[Hashable, ...]:
        """Return the key under which the features of an image are kept: contents, device and precision of computing.

        The weights are no part of it: whoever changes them clears the cache.
        """
        device = batch.images.device
        return batch.image_keys[row], str(device), autocast_dtype(device)

    def _flat_features(self, image: Tensor) -> Any:
        return flat(self.encode_image(image))

    def _kept(self, batch: EpisodeBatch, row: int, support: bool) -> Any:
        if self.sees_pixels:
            return self._image(batch, row)
        key, kept = self.feature_key(batch, row), self.backbone.cache.get

        def as_query() -> Any:
            encoded, image = self.encode(batch, row), self._image(batch, row)
            kept("support", key, lambda: flat(self.as_support(encoded)))  # which costs little now
            return flat(self.as_query(encoded, image))

        with torch.inference_mode(False), torch.no_grad():  # what an evaluation keeps may be trained with
            if not self._tells_roles:
                return kept(self.kept_as, key, lambda: flat(self.encode(batch, row)))
            if support:
                return kept("support", key, lambda: flat(self.as_support(self.encode(batch, row))))
            return kept("query", key, as_query)

    @property
    def _tells_roles(self) -> bool:
        """True where what is kept of an image depends on its role."""
        own, base = type(self), ImageFeatures
        return own.as_query is not base.as_query or own.as_support is not base.as_support

    def _image(self, batch: EpisodeBatch, row: int) -> Tensor:
        if not self.raw_images:
            return batch.pixels(row)
        return batch.photo(row) if "photos" in self.needs.hints else batch.images[row]

    def encode(self, batch: EpisodeBatch, row: int) -> Any:
        """Return the frozen network's features of the image in row `row` of a batch.

        In training on a GPU, further images of the batch may be encoded in the same pass.
        """
        if self.raw_images or self._together is None or self._together.batch is not batch:
            return self.encode_image(self._image(batch, row))
        return self._together.encode(row)

    @property
    def encodes_together(self) -> bool:
        """True if several images of a training batch go through the network in one pass, which is faster on a GPU."""
        return self.training and self.device.type == "cuda" and self.trains_on_backbone

    @property
    def trains_on_backbone(self) -> bool:
        """True if training uses the backbone's features unchanged: by default, unless `encode_image` is overridden.

        A method whose own `encode_image` returns the backbone's features in training sets this to True.
        """
        return type(self).encode_image is ImageFeatures.encode_image


def flat(features: Any) -> Any:
    """Return an image's features as one tensor, or as a tuple of tensors without the tuple's entries that are None."""
    return features if isinstance(features, Tensor) else tuple(part for part in features if part is not None)


def together(images: Sequence[Any]) -> Features:
    """Stack the features of several images along a new first axis; the features of a single image are not copied."""
    first = images[0]
    if isinstance(first, Tensor):
        return first[None] if len(images) == 1 else torch.stack(list(images))
    parts = [together(parts) for parts in zip(*images, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
