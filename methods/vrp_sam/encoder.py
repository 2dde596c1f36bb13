"""The trained part of VRP-SAM: from frozen features of query and support to prompts for SAM (vrp-sam.md §5, §6).

Module names are those of the authors' checkpoints.

Shapes: b queries, K shots, C model width, n prompts, c channels, (h, h) the map of layer 3.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.methods.modules.maps import masked_mean, resize
from fsbench.methods.modules.pspnet import Features
from fsbench.methods.modules.stages import aligned
from fsbench.networks.backbones.sam2_sam3 import sine_code

SMALL = 1e-7
"""Added to the product of norms in the pseudo mask (§5)."""
WEIGHT = 10
"""Factor of annotation and pseudo mask beside the features (§5)."""


@torch.no_grad()
def pseudo_mask(support: Tensor, query: Tensor, mask: Tensor) -> Tensor:
    """Return each query cell's largest cosine with a support cell under the annotation (§5).

    Support cells off the annotation count with a cosine of 0.

    Args:
        support: deep features (b, c, ·, ·) of the masked support.
        query: deep features (b, c, ·, ·).
        mask: annotation of the support (b, 1, ·, ·).

    Returns:
        Map (b, 1, ·, ·) of the query, at least 0 unless the annotation covers every cell.
    """
    weights, maps = resize(mask, support.shape[-1]).flatten(1), []
    for cells, places, weight in zip(support.flatten(2), query.flatten(2), weights, strict=True):
        on = weight > 0
        best = places.new_zeros(places.shape[1])
        if on.any():
            chosen = cells[:, on] * weight[on]
            norms = chosen.norm(dim=0)[:, None] * places.norm(dim=0)
            best = (chosen.T @ places / (norms + SMALL)).amax(0)
            best = best if bool(on.all()) else best.clamp(min=0)
        maps.append(best.view(1, *query.shape[-2:]))
    return torch.stack(maps)


class PromptAttention(nn.Module):
    """Attention layer of prompts to the tokens of a map, or to each other (§6.2).

    Args:
        width: C, channels of a prompt.
        heads: number of attention heads.
        name: name of the attention in the authors' checkpoints.
    """

    def __init__(self, width: int, heads: int, name: str):
        super().__init__()
        self.name = name
        self.add_module(name, nn.MultiheadAttention(width, heads, batch_first=True))
        self.norm = nn.LayerNorm(width)
        for parameter in self.attention.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    @property
    def attention(self) -> nn.MultiheadAttention:
        attention = self.get_submodule(self.name)
        assert isinstance(attention, nn.MultiheadAttention)
        return attention

    def forward(self, prompts: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return the prompts (b, n, C) after attention to keys and values (b, ·, C)."""
        attended, _ = self.attention(prompts, keys, values, need_weights=False)
        normed: Tensor = self.norm(prompts + attended)
        return normed

    def weights(self, prompts: Tensor, keys: Tensor) -> Tensor:
        """Return the attention weights (b, n, ·) of prompts (b, n, C) to keys (b, ·, C), mean over the heads."""
        weights: Tensor = self.attention(prompts, keys, keys)[1]
        return weights


class PromptGenerator(nn.Module):
    """Learned embeddings that attend to support and query image and become SAM's prompts (§6).

    Args:
        width: C, channels of a prompt.
        prompts: n, number of prompts.
        heads: number of heads of each attention.
    """

    def __init__(self, width: int = 256, prompts: int = 50, heads: int = 4):
        super().__init__()

        def layers(name: str) -> nn.ModuleList:
            return nn.ModuleList([PromptAttention(width, heads, name)])

        self.supp_q_feat = nn.Embedding(prompts, width)
        self.transformer_cross_attention_layers_0 = layers("multihead_attn")
        self.transformer_self_attention_layers_0 = layers("self_attn")
        self.transformer_cross_attention_layers = layers("multihead_attn")
        self.transformer_self_attention_layers = layers("self_attn")

    def forward(self, query: Tensor, support: Tensor) -> Tensor:
        """Return prompts (b, n, C) for merged features (b, C, ·, ·) of query and support."""
        prompts = self.supp_q_feat.weight.expand(len(query), -1, -1)
        prompts = self.transformer_cross_attention_layers_0[0](prompts, *_tokens(support))
        prompts = self.transformer_self_attention_layers_0[0](prompts, prompts, prompts)
        prompts = self.transformer_cross_attention_layers[0](prompts, *_tokens(query))
        attended: Tensor = self.transformer_self_attention_layers[0](prompts, prompts, prompts)
        return attended


def _tokens(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return keys, which have the code of their position, and values (b, hw, C) of features (b, C, h, w)."""
    positions = sine_code(*x.shape[1:]).to(x)
    return (x + positions).flatten(2).transpose(1, 2), x.flatten(2).transpose(1, 2)


class Encoded(NamedTuple):
    """Prompts of VRP-SAM's encoder, with the features and maps from which they are made.

    Attributes:
        prototype: mean feature of each support under its annotation (b·K, C, 1, 1).
        pseudo_mask: each query cell's largest cosine with the annotated support (b·K, 1, h, h).
        query, support: features merged with prototype and mask (b·K, C, h, h).
        prompts: prompts for SAM (b·K, n, C).
    """

    prototype: Tensor
    pseudo_mask: Tensor
    query: Tensor
    support: Tensor
    prompts: Tensor


def annotated_cells(annotation: Tensor, side: int) -> Tensor:
    """Resize annotations (b, H, W) to (b, 1, side, side) by nearest neighbour; single pixels mostly vanish (§3)."""
    return F.interpolate(annotation[:, None].float(), (side, side), mode="nearest")


class VisualPromptEncoder(nn.Module):
    """All trainable layers of VRP-SAM, which turn query and annotated support features into prompts for SAM.

    Args:
        channels: channels of the outputs of the trunk's layers 2 and 3.
        width: C, channels of a prompt.
        prompts: n, number of prompts.
        heads: number of heads of each attention.
    """

    def __init__(self, channels: tuple[int, int], width: int = 256, prompts: int = 50, heads: int = 4):
        super().__init__()
        self.downsample_query = nn.Sequential(
            nn.Conv2d(sum(channels), width, 1, bias=False), nn.ReLU(), nn.Dropout2d(0.5)
        )
        self.merge_1 = nn.Sequential(nn.Conv2d(2 * width + 1, width, 1, bias=False), nn.ReLU())
        self.transformer_decoder = PromptGenerator(width, prompts, heads)

    def forward(self, query: Features, support: Features, cells: Tensor) -> Encoded:
        """Return prompts for b queries with K annotated supports each, and the maps from which they are made.

        Args:
            query: outputs of the trunk's layers 2, 3 and 4 (b, c, ·, ·).
            support: outputs of layers 2 and 3, and of layer 4 computed from the annotated output of layer 3
                (b·K, c, ·, ·).
            cells: annotations at the size of layer 3's output (b·K, 1, h, h).
        """
        side = cells.shape[-1]
        query, support = aligned(query), aligned(support)
        assert query.f3 is not None and support.f3 is not None
        shots = len(cells) // len(query.f2)
        deep = query.f3.repeat_interleave(shots, 0)
        found = resize(pseudo_mask(support.f3, deep, cells), side)
        query_map = self.downsample_query(torch.cat([query.f1, query.f2], 1)).repeat_interleave(shots, 0)
        support_map = self.downsample_query(torch.cat([support.f1, support.f2], 1))
        prototype = masked_mean(support_map, cells)
        spread = prototype.expand_as(support_map)
        merged_support = self.merge_1(torch.cat([support_map, spread, WEIGHT * cells], 1))
        merged_query = self.merge_1(torch.cat([query_map, spread, WEIGHT * found], 1))
        prompts = self.transformer_decoder(merged_query, merged_support)
        return Encoded(prototype, found, merged_query, merged_support, prompts)
