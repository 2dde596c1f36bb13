"""FORT's position prompts and attention loss (NeurIPS 2023; fort.md §9).

Position prompts weigh the patches of a support image that show its class; the loss draws the last attention to them.
They come from the network before it is tuned. On a ViT, attention rolled out over all blocks and the gradient of the
class scores choose P patches of an image and weigh them (§9.1). On a Swin, the attention logits of every stage's last
block choose P patches of every window (§9.3). The loss is a cross-entropy of these weights and the attention (§9.2).
Attention is read out of timm's networks while they run.

Shapes: B images, N patches, H heads, D channels; a Swin's stage has W windows of M patches an image.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from fsbench.base.errors import SettingsError

PositionPrompts = list[Tensor]
"""Weights of the patches: one tensor (B, N) for a ViT, one (B, W, M) for each stage of a Swin."""

GRADIENT_WEIGHT = 1.0
"""Weight lambda of the gradient beside the attention (§9.4)."""
ZEROED = 0.9
"""Share of every row of an attention map that the roll-out sets to zero (§9.1)."""


def position_prompts(
    encoder: nn.Module,
    score: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    patches: int,
    gradient_weight: float = GRADIENT_WEIGHT,
) -> PositionPrompts:
    """Return the patches of each image that matter most for its class, FORT's position prompts.

    In a ViT they follow from attention rollout and gradients (§9.1), in a Swin from each window's attention (§9.3).

    Args:
        encoder: the network before fine-tuning, a ViT or Swin.
        score: function from features (B, D) to class scores (B, n), the head's temperature included.
        images: support images (B, 3, S, S), normalised.
        labels: classes (B,) int64 of the images.
        patches: P, number of patches of an image (ViT) or a window (Swin).
        gradient_weight: lambda of §9.1; a Swin has no gradient term.
    """
    if isinstance(encoder, SwinTransformer):
        with torch.no_grad(), attention_logits(encoder) as logits:
            encoder(images)
            return [window_focus(window_importance(stage()), patches) for stage in logits]
    attention, gradient = attention_and_gradient(encoder, score, images, labels)
    importance = roll_out(attention, principal_component(gradient), gradient_weight)
    return [weighted_focus(importance, patches)]


def principal_component(gradient: Tensor) -> Tensor:
    """Project each image's patch gradients (N, D), batched (B, N, D), on their first right singular vector: (B, N).

    The result depends on the vector's sign (§9.1). To get LAPACK's, as the authors do, the decomposition always runs on
    the CPU.
    """
    centred = gradient.nan_to_num(nan=0.0)
    centred = centred - centred.mean(1, keepdim=True)
    rows = torch.linalg.svd(centred.cpu(), full_matrices=False).Vh[:, 0]
    return torch.einsum("bnd,bd->bn", centred, rows.to(centred.device))


def roll_out(attention: Sequence[Tensor], component: Tensor, gradient_weight: float = GRADIENT_WEIGHT) -> Tensor:
    """Return the importance (B, N) of each patch by attention rollout, the product of all blocks' maps (§9.1).

    Args:
        attention: attention maps among patches (B, N, N), from the first block to the last.
        component: projected gradient of the patches (B, N), added to every row of each map.
        gradient_weight: lambda, factor of `component`.
    """
    tokens = component.shape[1]
    unit = torch.eye(tokens, dtype=component.dtype, device=component.device)
    rolled = unit.expand(len(component), -1, -1)
    for weights in attention:
        kept = weights + gradient_weight * component[:, None]
        smallest = kept.topk(int(tokens * ZEROED), -1, largest=False).indices
        mixed = (kept.scatter(-1, smallest, 0) + unit) / 2
        rolled = mixed / mixed.sum(-1, keepdim=True) @ rolled
    return rolled.mean(1)


def weighted_focus(importance: Tensor, patches: int) -> Tensor:
    """Return weights (B, N) of the P = `patches` most important patches of each image; other patches get 0 (§9.1).

    The weights of an image are in proportion to their importance and sum to P.
    """
    kept, places = importance.topk(patches, -1)
    return torch.zeros_like(importance).scatter(-1, places, kept * patches / kept.sum(-1, keepdim=True))


def window_importance(logits: Tensor) -> Tensor:
    """Return the importance (B, W, M) of each key of a Swin's windows: its mean attention logit (§9.3).

    `logits` are (B, W, H, M, M): images, windows, heads, queries and keys of a window.
    """
    return logits.mean((2, 3))


def window_focus(importance: Tensor, patches: int) -> Tensor:
    """Mark the P = `patches` most important keys of every Swin window with 1, others with 0: (B, W, M) (§9.3)."""
    return torch.zeros_like(importance).scatter(-1, importance.topk(patches, -1).indices, 1)


def check_encoder(encoder: nn.Module) -> None:
    """Raise SettingsError unless FORT can read the attention of the network `encoder`."""
    if not isinstance(encoder, VisionTransformer | SwinTransformer):
        raise SettingsError(f"FORT needs a ViT or a Swin with attention maps, and the backbone is {type(encoder)}")
    if isinstance(encoder, VisionTransformer) and encoder.num_prefix_tokens != 1:
        raise SettingsError(f"FORT needs a ViT with one class token; this one has {encoder.num_prefix_tokens}")


def check_patches(encoder: nn.Module, size: int, patches: int) -> None:
    """Raise SettingsError unless images of side `size`, or the windows of a Swin, have at least `patches` patches."""
    net: Any = encoder
    if isinstance(encoder, SwinTransformer):
        area, available = "window", min(math.prod(stage.blocks[-1].window_size) for stage in net.layers)
    else:
        area, available = "image", (size // net.patch_embed.patch_size[0]) ** 2
    if not 1 <= patches <= available:
        raise SettingsError(f"patches is {patches}, expected 1 to {available}, which an {area} has")


def attention_loss(logits: Sequence[Tensor], focus: PositionPrompts, temperature: float) -> Tensor:
    """Return the cross-entropy between each stage's attention and the position prompts, (stages,) (§9.2, §9.3).

    Args:
        logits: attention logits of each stage: (B, H, queries, N) of a ViT with H heads, or (B, W, H, M, M) of a Swin
            with W windows of M patches. The logits are averaged over heads.
        focus: weights of the important patches (position prompts) of the same images.
        temperature: tau, by which the logits are divided.

    Each entry is the mean over images, windows and queries.
    """
    losses = []
    for stage, weights in zip(logits, focus, strict=True):
        heads = stage.ndim - 3
        log_attention = F.log_softmax(stage.mean(heads) / temperature, -1)  # (B, [W,] queries, keys)
        losses.append(-(weights[..., None, :] * log_attention).sum(-1).mean())
    return torch.stack(losses)


def attention_and_gradient(
    encoder: nn.Module, score: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Return a ViT's attention maps, and the gradient of the class scores with respect to its patch tokens (§9.1).

    Args:
        encoder: the ViT.
        score: function from features (B, D) to class scores (B, n).
        images: images (B, 3, S, S), normalised.
        labels: (B,), classes of the images; the mean of each image's score for its own class is differentiated.

    Returns:
        For every block its attention among patches (B, N, N), minimum over heads; and the gradient (B, N, D) on the
        patch tokens that enter the last block. The score reads only the class token, so the gradient reaches these
        tokens through the block's first norm alone.
    """
    net: Any = encoder
    maps: list[Tensor] = []
    inputs: list[Tensor] = []

    def keep(block: Any, layer: nn.Module, args: Any, qkv: Tensor) -> None:  # a fused kernel never has the weights
        maps.append(_patch_logits(block, qkv, 0).softmax(-1)[:, :, 1:, 1:].amin(1))

    with torch.no_grad(), ExitStack() as hooks:
        for block in net.blocks:
            hooks.enter_context(block.attn.qkv.register_forward_hook(partial(keep, block)))
        hooks.enter_context(net.blocks[-1].register_forward_pre_hook(lambda block, args: inputs.append(args[0])))
        encoder(images)
    with torch.enable_grad():
        tokens = inputs[0].detach().requires_grad_()
        features = net.forward_head(net.norm(net.blocks[-1](tokens)), pre_logits=True)
        total = score(features).gather(1, labels[:, None]).mean()
        (gradient,) = torch.autograd.grad(total, tokens)
    return maps, gradient[:, 1:]


@contextmanager
def attention_logits(encoder: nn.Module) -> Iterator[list[Callable[[], Tensor]]]:
    """Record attention queries and keys of forward passes within a `with` block.

    The recorded blocks are a ViT's last block, or the last block of each stage of a Swin.

    Yields:
        One function for each recorded block, which returns the block's attention logits, with gradients.
    """
    net: Any = encoder
    is_swin = isinstance(encoder, SwinTransformer)
    blocks = [stage.blocks[-1] for stage in net.layers] if is_swin else [net.blocks[-1]]
    caught: dict[nn.Module, Tensor] = {}
    with ExitStack() as hooks:
        for block in blocks:
            hooks.enter_context(block.attn.qkv.register_forward_hook(lambda qkv, _, out: caught.update({qkv: out})))

        def read(block: Any) -> Tensor:
            return (_window_logits if is_swin else _patch_logits)(block, caught[block.attn.qkv])

        yield [partial(read, block) for block in blocks]


def _patch_logits(block: Any, qkv: Tensor, first: int = 1) -> Tensor:
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
