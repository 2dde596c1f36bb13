"""Patch tokens of one image, of a vision transformer or of a network with a pyramid of features."""

import torch
from einops import rearrange
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.pyramid import FrozenPyramid
from fsbench.networks.backbones.pyramid_networks import PYRAMIDS
from fsbench.networks.backbones.vit import VITS, FrozenViT

STRIDE = 16
"""Pixels of a side of the patch that a token of a pyramid stands for."""


def frozen_tokens(config: BackboneConfig) -> "FrozenViT | PyramidTokens":
    """Build the frozen network of a name, whose features are tokens of patches."""
    return PyramidTokens(config) if config.name in PYRAMIDS and config.name not in VITS else FrozenViT(config)


class PyramidTokens(FrozenPyramid):
    """Frozen network whose maps at 1/16 of the image are taken for tokens, as those of a vision transformer.

    A network for images like those it will see is trained to tell objects apart at this scale; the maps at 1/32 are
    sharper about the class and too coarse for a mask.
    """

    def check_image_size(self, size: int) -> None:
        super().check_image_size(size)
        if size % STRIDE:
            raise SettingsError(f"image size is {size}, expected a multiple of {STRIDE}, the side of a patch")

    def encode(self, pixels: Tensor) -> Tensor:  # type: ignore[override]
        """Return the tokens (L, 1 + T, C) float32 of the blocks at 1/16 of a normalised image (3, H, W).

        The mean of all tokens stands where a vision transformer has its class token.
        """
        tokens = rearrange(super().encode(pixels)[2], "l c y x -> l (y x) c")
        return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
