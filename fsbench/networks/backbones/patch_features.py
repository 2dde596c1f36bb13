"""Features of an image's patches by whichever frozen network there is, to compare images with."""

from typing import Any

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.data.batch import normalise

SCALE = 2
"""Place of the maps at 1/16 of the image in a pyramid."""


def patch_features(backbone: Any, pixels: Tensor) -> Tensor:
    """Return the features (h, w, D) float32 of length 1 of an image's patches, by the last layer of a frozen network.

    Args:
        backbone: gives tokens (L, 1 + T, D), those of a square grid after a class token, or a pyramid, of which the
            maps at 1/16 of the image are taken.
        pixels: (3, S, S) uint8, on the network's device.

    Raises:
        SettingsError: the network gives something else.
    """
    features = backbone.encode(normalise(pixels))
    if isinstance(features, tuple) and len(features) == 4 and all(map(_is_scale, features)):
        grid = rearrange(features[SCALE][-1], "d h w -> h w d")
    elif isinstance(features, Tensor) and features.dim() == 3 and _side(features):
        grid = rearrange(features[-1, 1:], "(h w) d -> h w d", h=_side(features))
    else:
        raise SettingsError(
            f"the frozen network {backbone.name} gives no features of patches in a square, by which images are "
            "compared; expected a vision transformer or a network with a pyramid of features"
        )
    return F.normalize(grid.float(), dim=-1)


def _is_scale(features: Any) -> bool:
    """Return whether these are the maps (L, C, h, w) of one scale of a pyramid; a PSPNet's are (C, h, w)."""
    return isinstance(features, Tensor) and features.dim() == 4


def _side(tokens: Tensor) -> int:
    """Return the side of the grid of tokens (L, 1 + T, D); 0 where they are none of a square."""
    patches = tokens.shape[1] - 1
    side = int(max(patches, 0) ** 0.5)
    return side if side * side == patches else 0
