"""A ViT of which some blocks are learned: the demo's, in the place of the convolutional networks that methods learn.

Shapes: b images, C channels, (h, w) its map of tokens, S image side.
"""

from typing import Any

import torch
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.networks.backbones.timm_networks import FrozenViT, patch_maps


class OwnSizeViT(FrozenViT):
    """Weights of a ViT that takes images of one size only, that of the position table in its weight file."""

    def check_image_size(self, size: int) -> None:
        if size != self.side:
            raise SettingsError(f"image size {size} does not fit {self.name} as it is learned; expected {self.side}")

    @property
    def side(self) -> int:
        """Side of the accepted images in pixels."""
        return self.spec.image_size


class LearnedTokens(nn.Module):
    """Trainable feature network from the blocks of a ViT; features are standardised tokens.

    Args:
        weights: the ViT with its pretrained weights.
        blocks: numbers, from 0, of the first block that is learned and of the last block that is used.
    """

    def __init__(self, weights: OwnSizeViT, blocks: tuple[int, int]):
        super().__init__()
        first, last = blocks
        if not 0 <= first <= last < weights.depth:
            raise SettingsError(
                f"vit_blocks are {list(blocks)}, expected the first learned and the last used of the "
                f"{weights.depth} blocks of {weights.name}, counted from 0"
            )
        with torch.random.fork_rng(devices=[]):  # a new network draws weights, before it takes those
            vit: Any = weights.new_copy(torch.empty(3, weights.side, weights.side))
        del vit.blocks[last + 1 :]
        self.vit: nn.Module = vit
        for parameter in vit.blocks[first:].parameters():
            parameter.requires_grad_(parameter.dim() > 1)
        self.train()

    def train(self, mode: bool = True) -> "LearnedTokens":
        """Return the network itself in evaluation mode, whatever `mode` is."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the standardised patch tokens, as maps (b, C, h, w), of normalised images (b, 3, S, S)."""
        return patch_maps(self.vit, images, norm=True)
