"""FORT's position prompts and attention term (fort.md §9): which patches of a support image tell its class, and the
loss that turns the last attention to them.

A prompt step looks at the network before it is tuned. On a ViT, attention rolled out over all blocks and the gradient
of the class scores choose P patches of an image and weigh them (§9.1); on a Swin, the attention logits of every stage's
last block choose P patches of every window (§9.3). The loss is a cross-entropy of these weights and the attention.

Shapes: B images, N patches, H heads, D channels; a Swin's stage has W windows of M patches an image.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from fsbench.errors import SettingsError
from methods._adapters import PROMPTS, DeepPrompts

Focus = list[Tensor]
"""Weights of the patches: one tensor (B, N) of a ViT, one (B, W, M) for each stage of a Swin."""

GRADIENT_WEIGHT = 1.0
"""lambda of §9.1, of the gradient term beside attention."""
ZEROED = 0.9
"""Share of every row of an attention map that the roll-out sets to zero."""


def check_encoder(encoder: nn.Module) -> None:
    """Raise SettingsError for a network whose attention FORT cannot look at."""
    if not isinstance(encoder, VisionTransformer | SwinTransformer):
        raise SettingsError(f"FORT needs a ViT or a Swin with attention maps, and the backbone is {type(encoder)}")
    if isinstance(encoder, VisionTransformer) and encoder.num_prefix_tokens != 1:
        raise SettingsError(f"FORT needs a ViT with one class token; this one has {encoder.num_prefix_tokens}")


def first_patch(encoder: nn.Module) -> int:
    """Place of the first patch among a ViT's tokens: after the class token, and the prompts where there are some."""
    return 1 + sum(PROMPTS for module in encoder.modules() if isinstance(module, DeepPrompts))


def find_focus(
    encoder: nn.Module, score: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, patches: int
) -> Focus:
    """The position prompts of `images` (B, 3, S, S) with `labels` (B,): §9.1 for a ViT, §9.3 for a Swin.

    Args:
        encoder: the network before it is tuned.
        score: from features (B, D) to class scores (B, n), the head's temperature included.
        patches: P, how many of an image (ViT) or a window (Swin).
    """
    check_encoder(encoder)
    if isinstance(encoder, SwinTransformer):
        with torch.no_grad(), attention_logits(encoder) as logits:
            encoder(images)
            return [window_focus(window_importance(stage()), patches) for stage in logits]
    attention, gradient = attention_and_gradient(encoder, score, images, labels)
    return [weighted_focus(roll_out(attention, principal_component(gradient)), patches)]


# The ViT's prompt step (§9.1)


def attention_and_gradient(
    encoder: nn.Module, score: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Attention maps and the gradient of the mean score of the images' own classes (§9.1, steps 1 and 2).

    Returns:
        Of every block the smallest over the heads of its attention among patches (B, N, N); and the gradient on the
        patches (B, N, D) at the last block's first norm, through that norm alone. Only the class token is read, so
        this is the gradient on the last block's input, and no other block needs one.
    """
    assert isinstance(encoder, VisionTransformer)
    maps: list[Tensor] = []
    entered: list[Tensor] = []
    last: Any = encoder.blocks[-1]
    with torch.no_grad(), _attention_maps(encoder, maps):
        hook = last.register_forward_pre_hook(lambda block, args: entered.append(args[0]))
        try:
            encoder(images)
        finally:
            hook.remove()
    with torch.enable_grad():
        tokens = entered[0].detach().requires_grad_()
        features = encoder.forward_head(encoder.norm(last(tokens)), pre_logits=True)
        total = score(features).gather(1, labels[:, None]).mean()
        (gradient,) = torch.autograd.grad(total, tokens)
    return maps, gradient[:, first_patch(encoder) :]


@contextmanager
def _attention_maps(encoder: nn.Module, maps: list[Tensor]) -> Iterator[None]:
    """Collect every block's attention among patches, the smallest over the heads, while it runs."""
    layers: list[Any] = [module for module in encoder.modules() if hasattr(module, "attn_drop")]
    fused = [layer.fused_attn for layer in layers]
    hooks = []
    first = first_patch(encoder)
    for layer in layers:
        layer.fused_attn = False  # a fused kernel never has the weights
        hook = layer.attn_drop.register_forward_hook(
            lambda module, args, out: maps.append(args[0][:, :, first:, first:].amin(1))
        )
        hooks.append(hook)
    try:
        yield
    finally:
        for layer, was in zip(layers, fused, strict=True):
            layer.fused_attn = was
        for hook in hooks:
            hook.remove()


def principal_component(gradient: Tensor) -> Tensor:
    """Gradient (B, N, D) -> its projection on the first right singular vector of an image, (B, N) (step 3).

    The vector's sign is LAPACK's, as in the authors' program, and the result depends on it; the decomposition therefore
    runs on the CPU, on every device.
    """
    centred = gradient.nan_to_num(nan=0.0)
    centred = centred - centred.mean(1, keepdim=True)
    rows = torch.linalg.svd(centred.cpu(), full_matrices=False).Vh[:, 0]
    return torch.einsum("bnd,bd->bn", centred, rows.to(centred.device))


def roll_out(attention: Sequence[Tensor], component: Tensor) -> Tensor:
    """Attention maps (B, N, N) from the first block to the last, and the gradient's term (B, N) -> importance (B, N)
    (steps 4 and 5)."""
    tokens = component.shape[1]
    unit = torch.eye(tokens, dtype=component.dtype, device=component.device)
    rolled = unit.expand(len(component), -1, -1)
    for weights in attention:
        kept = weights + GRADIENT_WEIGHT * component[:, None]
        smallest = kept.topk(int(tokens * ZEROED), -1, largest=False).indices
        mixed = (kept.scatter(-1, smallest, 0) + unit) / 2
        rolled = mixed / mixed.sum(-1, keepdim=True) @ rolled
    return rolled.mean(1)


def weighted_focus(importance: Tensor, patches: int) -> Tensor:
    """The P largest entries of every row (B, N), scaled to sum P; zero elsewhere (step 6)."""
    _check_count(patches, importance.shape[1], "image")
    kept, places = importance.topk(patches, -1)
    return torch.zeros_like(importance).scatter(-1, places, kept * patches / kept.sum(-1, keepdim=True))


# The Swin's prompt step (§9.3)


def window_importance(logits: Tensor) -> Tensor:
    """Attention logits (B, W, H, M, M) of a stage -> importance of its keys (B, W, M)."""
    return logits.mean((2, 3))


def window_focus(importance: Tensor, patches: int) -> Tensor:
    """1 at the P largest keys of every window (B, W, M), 0 elsewhere."""
    _check_count(patches, importance.shape[-1], "window")
    return torch.zeros_like(importance).scatter(-1, importance.topk(patches, -1).indices, 1)


def check_patches(encoder: nn.Module, size: int, patches: int) -> None:
    """Raise SettingsError unless images of side `size`, or the windows of a Swin, have so many patches."""
    net: Any = encoder
    if isinstance(encoder, SwinTransformer):
        sizes = [stage.blocks[-1].window_size for stage in net.layers]
        _check_count(patches, min(height * width for height, width in sizes), "window")
    else:
        _check_count(patches, (size // net.patch_embed.patch_size[0]) ** 2, "image")


def _check_count(patches: int, there: int, of: str) -> None:
    if not 1 <= patches <= there:
        raise SettingsError(f"patches is {patches}, expected 1 to {there}, which an {of} has")


# The attention term (§9.2, §9.3)


@contextmanager
def attention_logits(encoder: nn.Module) -> Iterator[list[Callable[[], Tensor]]]:
    """While the network runs, catch what the attention logits of the last block (ViT) or of every stage's last block
    (Swin) are made of. Each entry of the list computes one of them, with its gradients."""
    check_encoder(encoder)
    caught: dict[int, Tensor] = {}
    stages: list[Any] = list(encoder.layers) if isinstance(encoder, SwinTransformer) else [encoder]
    blocks = [stage.blocks[-1] for stage in stages]
    found = _window_logits if isinstance(encoder, SwinTransformer) else partial(_patch_logits, first_patch(encoder))

    def entry(index: int, block: Any) -> Callable[[], Tensor]:
        return lambda: found(block, caught[index])

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
    """Logits of a ViT's block, of all queries and the patches, from place `first` on, as keys: (B, H, N + first, N)."""
    q, k, _ = rearrange(qkv, "b t (three h d) -> three b h t d", three=3, h=block.attn.num_heads)
    return q * block.attn.scale @ k[:, :, first:].mT


def _window_logits(block: Any, qkv: Tensor) -> Tensor:
    """Logits of a Swin's block with the bias of positions, and -100 where a shifted window joins what does not belong
    together: (B, W, H, M, M)."""
    attention = block.attn
    q, k, _ = rearrange(qkv, "bw t (three h d) -> three bw h t d", three=3, h=attention.num_heads)
    logits = q * attention.scale @ k.mT + attention._get_rel_pos_bias()
    height, width = block.input_resolution
    windows = (height // block.window_size[0]) * (width // block.window_size[1])
    logits = rearrange(logits, "(b w) h m n -> b w h m n", w=windows)
    return logits if block.attn_mask is None else logits + block.attn_mask[:, None]


def attention_loss(logits: Sequence[Tensor], focus: Focus, temperature: float) -> Tensor:
    """Cross-entropies of the focus and the attention (mean of the heads' logits, over `temperature`), summed over
    stages: one number each, the mean over images, windows and queries. Returns them, (stages,)."""
    losses = []
    for stage, weights in zip(logits, focus, strict=True):
        heads = stage.ndim - 3
        log_attention = F.log_softmax(stage.mean(heads) / temperature, -1)  # (B, [W,] queries, keys)
        losses.append(-(weights[..., None, :] * log_attention).sum(-1).mean())
    return torch.stack(losses)
