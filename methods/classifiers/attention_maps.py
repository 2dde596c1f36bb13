"""Read attention out of timm's vision transformers while they run: maps, gradients and logits (fort.md §9).

Shapes: B images, N patches, H heads, D channels; a Swin's stage has W windows of M patches an image.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from einops import rearrange
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.methods.classifiers.adapters import PROMPTS, DeepPrompts


def check_encoder(encoder: nn.Module) -> None:
    """Raise SettingsError unless FORT can read the attention of this network."""
    if not isinstance(encoder, VisionTransformer | SwinTransformer):
        raise SettingsError(f"FORT needs a ViT or a Swin with attention maps, and the backbone is {type(encoder)}")
    if isinstance(encoder, VisionTransformer) and encoder.num_prefix_tokens != 1:
        raise SettingsError(f"FORT needs a ViT with one class token; this one has {encoder.num_prefix_tokens}")


def first_patch(encoder: nn.Module) -> int:
    """Return the place of the first patch among a ViT's tokens: after the class token and prompts, if any."""
    return 1 + sum(PROMPTS for module in encoder.modules() if isinstance(module, DeepPrompts))


def attention_and_gradient(
    encoder: nn.Module, score: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Return a ViT's attention maps and the gradient of its class scores on its patches (§9.1, steps 1 and 2).

    Args:
        encoder: the ViT.
        score: function from features (B, D) to class scores (B, n).
        images: (B, 3, S, S).
        labels: (B,); the mean of the images' own scores is differentiated.

    Returns:
        For every block its attention among patches (B, N, N), minimum over heads; and the gradient on the patches
        (B, N, D) at the last block's first norm, through that norm alone. Only the class token is read by the score,
        so this is the gradient on the last block's input, and no other block needs one.
    """
    assert isinstance(encoder, VisionTransformer)
    maps: list[Tensor] = []
    inputs: list[Tensor] = []
    last: Any = encoder.blocks[-1]
    with torch.no_grad(), _attention_maps(encoder, maps):
        hook = last.register_forward_pre_hook(lambda block, args: inputs.append(args[0]))
        try:
            encoder(images)
        finally:
            hook.remove()
    with torch.enable_grad():
        tokens = inputs[0].detach().requires_grad_()
        features = encoder.forward_head(encoder.norm(last(tokens)), pre_logits=True)
        total = score(features).gather(1, labels[:, None]).mean()
        (gradient,) = torch.autograd.grad(total, tokens)
    return maps, gradient[:, first_patch(encoder) :]


@contextmanager
def _attention_maps(encoder: VisionTransformer, maps: list[Tensor]) -> Iterator[None]:
    """Append to `maps` every block's attention among patches, minimum over heads, while the network runs."""
    blocks: Any = encoder.blocks
    first = first_patch(encoder)

    def keep(block: Any, qkv: Tensor) -> None:  # a fused kernel never has the weights
        maps.append(_patch_logits(0, block, qkv).softmax(-1)[:, :, first:, first:].amin(1))

    hooks = [
        block.attn.qkv.register_forward_hook(lambda layer, args, out, block=block: keep(block, out)) for block in blocks
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def attention_logits(encoder: nn.Module) -> Iterator[list[Callable[[], Tensor]]]:
    """Catch queries and keys of the last block (ViT) or of every stage's last block (Swin) while the network runs.

    Yields:
        One function for each of these blocks that computes its attention logits, with gradients.
    """
    check_encoder(encoder)
    caught: dict[int, Tensor] = {}
    stages: list[Any] = list(encoder.layers) if isinstance(encoder, SwinTransformer) else [encoder]
    blocks = [stage.blocks[-1] for stage in stages]
    logits_of = _window_logits if isinstance(encoder, SwinTransformer) else partial(_patch_logits, first_patch(encoder))

    def entry(index: int, block: Any) -> Callable[[], Tensor]:
        return lambda: logits_of(block, caught[index])

    hooks = [
        block.attn.qkv.register_forward_hook(lambda layer, args, out, index=index: caught.update({index: out}))
        for index, block in enumerate(blocks)
    ]
    try:
        yield [entry(index, block) for index, block in enumerate(blocks)]
    finally:
        for hook in hooks:
            hook.remove()


def _patch_logits(first: int, block: Any, qkv: Tensor) -> Tensor:
    """Return a ViT's attention logits of all T tokens to those from place `first` on: (B, H, T, T - first)."""
    q, k, _ = rearrange(qkv, "b t (three h d) -> three b h t d", three=3, h=block.attn.num_heads)
    return q * block.attn.scale @ k[:, :, first:].mT


def _window_logits(block: Any, qkv: Tensor) -> Tensor:
    """Return a Swin's attention logits (B, W, H, M, M), with position bias.

    Where a shifted window joins patches that are no neighbours, -100 is added.
    """
    attention = block.attn
    q, k, _ = rearrange(qkv, "bw t (three h d) -> three bw h t d", three=3, h=attention.num_heads)
    logits = q * attention.scale @ k.mT + attention._get_rel_pos_bias()
    height, width = block.input_resolution
    windows = (height // block.window_size[0]) * (width // block.window_size[1])
    logits = rearrange(logits, "(b w) h m n -> b w h m n", w=windows)
    return logits if block.attn_mask is None else logits + block.attn_mask[:, None]
