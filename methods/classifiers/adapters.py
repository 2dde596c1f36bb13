"""Trainable parts of a vision transformer: all of it, low-rank adapters, scales and shifts, or prompts (fort.md §8).

Networks are timm's `VisionTransformer` and `SwinTransformer` without a classifier. An adapter is inserted into the
network in place; only its parameters are trained then.

Shapes: B images, N patches, D channels.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.methods.modules.lora import insert_lora

Tuning = Literal["full", "lora", "ssf", "vpt"]

LORA_RANK = 4  # §8
LORA_ALPHA = 1  # §8
PROMPTS = 10  # prompts of a block, §8


class ScaleShift(nn.Module):
    """Scale and shift every channel of a layer's output (SSF).

    Args:
        channels: number of channels.
        axis: dimension of the channels.
    """

    def __init__(self, channels: int, axis: int):
        super().__init__()
        self.axis = axis
        self.ssf_scale = nn.Parameter(torch.ones(channels))
        self.ssf_shift = nn.Parameter(torch.zeros(channels))

    def reset(self) -> None:
        """Reset scale and shift so that the layer's output passes unchanged."""
        nn.init.ones_(self.ssf_scale)
        nn.init.zeros_(self.ssf_shift)

    def forward(self, x: Tensor) -> Tensor:
        shape = [1] * x.ndim
        shape[self.axis] = -1
        return x * self.ssf_scale.view(shape) + self.ssf_shift.view(shape)


class DeepPrompts(nn.Module):
    """Learned prompt tokens, inserted in every block of a ViT after the class token, without position (VPT-deep).

    Args:
        depth: number of blocks.
        width: D, channels of a token.
        patch: side of a patch in pixels, from which the range of the initial values follows.
    """

    def __init__(self, depth: int, width: int, patch: int):
        super().__init__()
        self.bound = math.sqrt(6 / (3 * patch * patch + width))
        self.deep_prompt_embeddings = nn.Parameter(torch.empty(depth, PROMPTS, width))
        self.reset()

    def reset(self) -> None:
        """Draw new initial values of all prompt tokens, uniformly from [-bound, bound]."""
        nn.init.uniform_(self.deep_prompt_embeddings, -self.bound, self.bound)

    def forward(self, tokens: Tensor, block: int) -> Tensor:
        """Return the tokens of block number `block` with the block's prompts, (B, 1 + prompts + N, D).

        In block 0 the prompts are inserted into tokens (B, 1 + N, D). In later blocks they replace the earlier prompts.
        """
        prompts = self.deep_prompt_embeddings[block].expand(len(tokens), -1, -1)
        patches = tokens[:, 1:] if block == 0 else tokens[:, 1 + PROMPTS :]
        return torch.cat([tokens[:, :1], prompts, patches], 1)


def insert(encoder: nn.Module, tuning: Tuning) -> None:
    """Insert an adapter into `encoder`, in place, and make only the adapter trainable (§8).

    Args:
        encoder: the network.
        tuning: "lora", "ssf" (scale and shift) or "vpt" (prompt tokens); "full" inserts nothing and makes all of the
            network trainable.

    Raises:
        SettingsError: `tuning` is "vpt", and `encoder` is not a ViT.
    """
    encoder.requires_grad_(tuning == "full")
    if tuning == "lora":
        insert_lora(encoder, LORA_RANK, LORA_ALPHA)
    elif tuning == "ssf":
        for layer, channels, axis in list(_scaled_layers(encoder)):
            layer.add_module("ssf", ScaleShift(channels, axis))
            layer.register_forward_hook(lambda layer, args, out: layer.ssf(out))
    elif tuning == "vpt":
        net: Any = encoder
        if not hasattr(net, "blocks"):
            raise SettingsError("prompts need a ViT, and the backbone is none; choose lora, ssf or full")
        prompts = DeepPrompts(len(net.blocks), net.embed_dim, net.patch_embed.patch_size[0])
        net.add_module("prompts", prompts)
        for index, block in enumerate(net.blocks):
            block.register_forward_pre_hook(lambda block, args, index=index: (prompts(args[0], index), *args[1:]))


def reset(encoder: nn.Module) -> None:
    """Reset all adapters in `encoder`; random values come from torch's global generator."""
    layer: Any
    for layer in encoder.modules():
        if isinstance(layer, ScaleShift | DeepPrompts):
            layer.reset()
        elif hasattr(layer, "reset_lora_parameters"):
            layer.reset_lora_parameters("default", init_lora_weights=True)


def _scaled_layers(encoder: nn.Module) -> Iterator[tuple[nn.Module, int, int]]:
    """Yield (layer, channels, their axis) of the patch projection, all norms, and linear layers that do not merge."""
    for name, layer in encoder.named_modules():
        if isinstance(layer, nn.Conv2d):
            yield layer, layer.out_channels, 1
        elif isinstance(layer, nn.LayerNorm):
            yield layer, layer.normalized_shape[0], -1
        elif isinstance(layer, nn.Linear) and not name.endswith("reduction"):
            yield layer, layer.out_features, -1
