"""Trainable parts of a vision transformer: all of it, low-rank adapters, scales and shifts, or prompts (fort.md §8).

Networks are timm's `VisionTransformer` and `SwinTransformer` without a classifier. An adapter is inserted into the
network in place; only its parameters are trained then. Of a ViT's last block, whose class token alone is read, nothing
is computed for the other tokens.

Shapes: B images, N patches, T tokens of which the first is the class token, H heads, D channels.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.models.vision_transformer import Attention, Block, VisionTransformer
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
        """Start as the identity."""
        nn.init.ones_(self.ssf_scale)
        nn.init.zeros_(self.ssf_shift)

    def forward(self, x: Tensor) -> Tensor:
        shape = [1] * x.ndim
        shape[self.axis] = -1
        return x * self.ssf_scale.view(shape) + self.ssf_shift.view(shape)


class DeepPrompts(nn.Module):
    """Prompts of every block of a ViT, between the class token and the patches; they have no position (VPT-deep).

    Args:
        depth: number of blocks.
        width: D.
        patch: patch side, for the range of the initial values.
    """

    def __init__(self, depth: int, width: int, patch: int):
        super().__init__()
        self.bound = math.sqrt(6 / (3 * patch * patch + width))
        self.deep_prompt_embeddings = nn.Parameter(torch.empty(depth, PROMPTS, width))
        self.reset()

    def reset(self) -> None:
        """Draw the prompts uniformly from [-bound, bound]."""
        nn.init.uniform_(self.deep_prompt_embeddings, -self.bound, self.bound)

    def forward(self, tokens: Tensor, block: int) -> Tensor:
        """Insert the prompts of a block into its tokens, (B, 1 + prompts + N, D).

        Tokens of the first block are (B, 1 + N, D); in those of the others, the prompts before are replaced.
        """
        prompts = self.deep_prompt_embeddings[block].expand(len(tokens), -1, -1)
        patches = tokens[:, 1:] if block == 0 else tokens[:, 1 + PROMPTS :]
        return torch.cat([tokens[:, :1], prompts, patches], 1)


def insert(encoder: nn.Module, tuning: Tuning) -> None:
    """Insert an adapter into `encoder` and leave only its parameters trainable; "full" leaves all (§8).

    Raises:
        SettingsError: prompts are wanted in a network that is no ViT.
    """
    encoder.requires_grad_(tuning == "full")
    if tuning == "lora":
        insert_lora(encoder, LORA_RANK, LORA_ALPHA)
    elif tuning == "ssf":
        _insert_scale_shift(encoder)
    elif tuning == "vpt":
        _insert_prompts(encoder)


def reset(encoder: nn.Module) -> None:
    """Reset every adapter in `encoder` to initial values; random ones come from torch's global generator."""
    layer: Any
    for layer in encoder.modules():
        if isinstance(layer, ScaleShift | DeepPrompts):
            layer.reset()
        elif hasattr(layer, "reset_lora_parameters"):
            layer.reset_lora_parameters("default", init_lora_weights=True)


def _insert_scale_shift(encoder: nn.Module) -> None:
    for layer, channels, axis in list(_scaled_layers(encoder)):
        adapter = ScaleShift(channels, axis)
        layer.add_module("ssf", adapter)
        layer.register_forward_hook(lambda layer, args, out: layer.ssf(out))


def _scaled_layers(encoder: nn.Module) -> Iterator[tuple[nn.Module, int, int]]:
    """Yield (layer, channels, their axis) of the patch projection, all norms, and linear layers that do not merge."""
    for name, layer in encoder.named_modules():
        if isinstance(layer, nn.Conv2d):
            yield layer, layer.out_channels, 1
        elif isinstance(layer, nn.LayerNorm):
            yield layer, layer.normalized_shape[0], -1
        elif isinstance(layer, nn.Linear) and not name.endswith("reduction"):
            yield layer, layer.out_features, -1


def _insert_prompts(encoder: nn.Module) -> None:
    net: Any = encoder
    blocks = getattr(net, "blocks", None)
    if blocks is None:
        raise SettingsError("prompts need a ViT, and the backbone is none; choose lora, ssf or full")
    adapter = DeepPrompts(len(blocks), net.embed_dim, net.patch_embed.patch_size[0])
    net.add_module("prompts", adapter)
    for index, block in enumerate(blocks):
        block.register_forward_pre_hook(lambda block, args, index=index: (adapter(args[0], index), *args[1:]))


class ClassTokenBlock(nn.Module):
    """A ViT's block that answers for the class token alone.

    The other tokens give keys and values, and queries to whoever reads them out of `attn.qkv`; they have no attention,
    projection and MLP of their own.

    Args:
        block: the block, whose layers this one shares under the same names.
    """

    def __init__(self, block: Block):
        super().__init__()
        for name, layer in block.named_children():
            self.add_module(name, layer)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the class token (B, 1, D) of the tokens (B, T, D)."""
        net: Any = self
        qkv = net.attn.qkv(net.norm1(tokens))
        q, k, v = rearrange(qkv, "b t (three h d) -> three b h t d", three=3, h=net.attn.num_heads)
        attended = rearrange(F.scaled_dot_product_attention(q[:, :, :1], k, v), "b h t d -> b t (h d)")
        token: Tensor = tokens[:, :1] + net.ls1(net.attn.proj(attended))
        return token + net.ls2(net.mlp(net.norm2(token)))


def read_class_token_alone(encoder: nn.Module) -> None:
    """Replace a ViT's last block in place, if the class token is all that is read of it and it drops nothing at random.

    Other networks stay as they are.
    """
    if not isinstance(encoder, VisionTransformer) or encoder.global_pool != "token":
        return
    blocks: Any = encoder.blocks
    attention = blocks[-1].attn
    steps = [getattr(attention, name, None) for name in ("q_norm", "k_norm", "norm", "gate")]
    steps += [getattr(blocks[-1], name, None) for name in ("drop_path1", "drop_path2")]
    drops = any(isinstance(layer, nn.Dropout) and layer.p for layer in blocks[-1].modules())
    is_plain = not drops and all(step is None or isinstance(step, nn.Identity) for step in steps)
    if type(blocks[-1]) is Block and type(attention) is Attention and is_plain:
        blocks[-1] = ClassTokenBlock(blocks[-1])
