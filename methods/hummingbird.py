"""Retrieval of labels from a memory of patches (Hummingbird: Balažević et al., NeurIPS 2023), without training.

The memory holds the tokens of all supports, each with the share of its patch that is the way's. A token of the query
asks for the nearest ones and takes the mean of their shares, weighted by attention. Only this decoder is the paper's
here; tokens may be of any frozen network. Sections and appendices are the paper's (arXiv 2306.01667).

Shapes: B queries, T patch tokens of an image, M of the memory, C channels, k neighbours, S image side, (h, w) the size
of a label map.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.segmenter import Segmenter
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import FrozenViT, PyramidTokens


class Memory(NamedTuple):
    """Unit tokens (M, C) of a way's supports, and the share of foreground in each token's patch (M,)."""

    keys: Tensor
    shares: Tensor


class Hummingbird(Segmenter):
    """Segmentation by attention to the supports' nearest tokens (Hummingbird evaluation), without training.

    Args:
        backbone: the frozen network: a ViT, or a network with a feature pyramid, whose maps at 1/16 are then the
            tokens.
        neighbours: k, number of nearest support tokens; 30 in the paper (appendix). If the supports have fewer tokens,
            all are used.
        temperature: number by which the cosines are divided before the softmax; 0.02 in the paper (appendix).
    """

    backbone: FrozenViT | PyramidTokens
    learns = False

    def __init__(self, backbone: BackboneConfig, neighbours: int = 30, temperature: float = 0.02):
        super().__init__(backbone)
        if neighbours < 1 or temperature <= 0:
            raise SettingsError(
                f"neighbours is {neighbours} and temperature {temperature}, expected at least 1, and more than 0"
            )
        self.neighbours, self.temperature = neighbours, temperature

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return the unit patch tokens (T, C) of the last block, of an image's pixels (3, S, S)."""
        return F.normalize(self.backbone.encode(pixels)[-1, 1:], dim=-1)

    def support(self, image: Tensor, mask: Tensor) -> Memory:
        """Return one support's tokens with the share of foreground in each token's patch (§3.1).

        Args:
            image: unit tokens (1, T, C) of the support.
            mask: foreground mask (1, S, S).
        """
        tokens = image[0]
        side = round(len(tokens) ** 0.5)
        return Memory(tokens, F.adaptive_avg_pool2d(mask.float(), side).flatten())

    def join(self, supports: Iterator[Memory]) -> Memory:
        """Concatenate the tokens of all supports, with their shares of foreground."""
        return Memory(*map(torch.cat, zip(*supports, strict=True)))

    def segment(self, query: Tensor, support: Memory) -> Tensor:
        """Return the log-probabilities (B, 2, h, w) of background and way that unit query tokens (B, T, C) retrieve."""
        shares = self.retrieve(query, support).clamp(0, 1)
        side = round(query.shape[1] ** 0.5)
        return logarithms(torch.stack([1 - shares, shares], 1).unflatten(2, (side, side)))

    def retrieve(self, query: Tensor, memory: Memory) -> Tensor:
        """Return the way's probability (B, T) for each query token (§3.1, eq. 1 and 2).

        The probability is the share of the way in the patches of the token's nearest support tokens, averaged with
        weights that are a softmax of the cosines.
        """
        nearest = (query @ memory.keys.T).topk(min(self.neighbours, len(memory.keys)), dim=-1)
        attention = (nearest.values / self.temperature).softmax(-1)
        return (attention * memory.shares[nearest.indices]).sum(-1)

    def resize(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize log-probabilities (B, 2, h, w) to `size`, by interpolation of the probabilities themselves."""
        return logarithms(F.interpolate(logits.exp(), size, mode="bilinear"))


def logarithms(shares: Tensor) -> Tensor:
    """Return the logarithm of shares in [0, 1], elementwise; 0 is replaced by the smallest normal number."""
    return shares.clamp(min=torch.finfo(shares.dtype).tiny).log()
