"""Layers of CST and EMAT: correlation tokens, masks of tokens, feed-forward, trunk and heads (emat.md §2, §3).

Module attributes carry the names of the authors' checkpoints.

Shapes: B samples (episodes x ways), L ViT layers, H ViT heads, e channels of a head, C correlation channels = H·L,
T query tokens = side², Ts support tokens (class token first), Td downscaled or pooled ones, D hidden channels.
"""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.methods.modules.blockwise import finish_layer
from fsbench.networks.ops.masked_attention import chosen_backend

GROUPS = 4  # groups of every GroupNorm, §3
HEADS = 8  # heads of every attention layer of the learner, §3.2
CHUNK = 2**24
"""Numbers of the correlation that exist at once on a GPU where no gradient is wanted: 64 MB in fp32."""


def query_features(tokens: Tensor, heads: int) -> Tensor:
    """Turn backbone tokens (..., L, 1+T, H·e), class token first, to unit vectors (..., H·L, T, e), head-major (§2)."""
    return _split_heads(tokens[..., 1:, :], heads)


def support_features(tokens: Tensor, heads: int, side: int, class_token: bool) -> Tensor:
    """Turn backbone tokens (..., L, 1+T, H·e) into unit vectors of the support (..., H·L, Ts, e).

    The patch tokens are resized to side x side *before* they are normalised (§2).
    """
    lead, grid = tokens.shape[:-3], round((tokens.shape[-2] - 1) ** 0.5)
    flat = tokens.reshape(-1, *tokens.shape[-2:])
    maps = rearrange(flat[:, 1:], "n (y x) c -> n c y x", y=grid)
    maps = F.interpolate(maps, (side, side), mode="bilinear", align_corners=True)
    resized = rearrange(maps, "n c y x -> n (y x) c")
    if class_token:
        resized = torch.cat([flat[:, :1], resized], 1)
    return _split_heads(resized.reshape(*lead, tokens.shape[-3], *resized.shape[1:]), heads)


def _split_heads(tokens: Tensor, heads: int) -> Tensor:
    return F.normalize(rearrange(tokens, "... l t (h e) -> ... (h l) t e", h=heads), dim=-1, eps=1e-12)


def kept_tokens(masks: Tensor, side: int, class_token: bool) -> Tensor:
    """Return the support tokens that a mask keeps (§3.1).

    A token is kept if its bilinear weight is not exactly zero; the framework's own fp32 kernel decides borderline ones.

    Args:
        masks: (B, height, width); positive is foreground.
        side: side of the token grid.
        class_token: tokens start with a class token, which is always kept.

    Returns:
        (B, Ts) bool.
    """
    binary = masks.clamp(max=1).float()[:, None]
    with torch.autocast(masks.device.type, enabled=False):
        weights = F.interpolate(binary, (side, side), mode="bilinear", align_corners=True)
    keep = weights.flatten(1) != 0
    return F.pad(keep, (1, 0), value=True) if class_token else keep


def norm(channels: int) -> nn.GroupNorm:
    """Build the learner's normalisation layer."""
    return nn.GroupNorm(GROUPS, channels)


def pool_tokens(x: Tensor, size: int, class_token: bool) -> Tensor:
    """Average-pool the support tokens of (B, C, T, Ts) as a square map by size x size; the class token stays."""
    image = x[..., 1:] if class_token else x
    side = round(image.shape[-1] ** 0.5)
    batch, channels, positions, _ = image.shape
    pooled = F.avg_pool2d(image.reshape(batch, channels * positions, side, side), size)
    pooled = pooled.reshape(batch, channels, positions, -1)
    return torch.cat([x[..., :1], pooled], -1) if class_token else pooled


def run_layers(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Apply layers one after the other.

    Where no gradient is wanted, norms and ReLUs write over what they read, so `x` is lost: norms one group at a time,
    with the values of the whole. Under autocast, whose norms return wider numbers, they do not.
    """
    in_place = not torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type)
    in_place = in_place and not torch.compiler.is_exporting()
    for layer in layers:
        if in_place and isinstance(layer, nn.ReLU):
            x.relu_()
        elif in_place and isinstance(layer, nn.GroupNorm):
            parts = (t.chunk(layer.num_groups, dim) for t, dim in ((x, 1), (layer.weight, 0), (layer.bias, 0)))
            for part, weight, bias in zip(*parts, strict=True):
                part.copy_(F.group_norm(part, 1, weight, bias, layer.eps))
        else:
            x = layer(x)
    return x


def add(x: Tensor, y: Tensor) -> Tensor:
    """Return x + y; where no gradient is wanted it takes the place of `x` if the types allow that."""
    kept = torch.is_grad_enabled() or torch.compiler.is_exporting() or x.dtype != y.dtype
    return x + y if kept else x.add_(y)


class FeedForward(nn.Module):
    """Feed-forward layer `GN(x + W2 ReLU(GN(W1 x)))` (§3.4)."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = channels // 2
        self.ff = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            norm(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1, bias=False),
        )
        self.out_norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return run_layers([self.out_norm], add(run_layers(self.ff, x), x))


class AttentionLayer(nn.Module):
    """A masked attention layer in two parts, of which the first treats every query token by itself.

    Subclasses set `short_cut`, which ends with norm and ReLU, `agg` and `out_norm`, and implement `reduce` and
    `reduce_correlation`.
    """

    short_cut: nn.Sequential
    agg: nn.Sequential
    out_norm: nn.GroupNorm

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """Return tokens (B, out, T, Td) of tokens (B, C, T, Ts), attending to those that `keep` (B, Ts) bool leaves."""
        return self.combine(*self.reduce(x, keep))

    def reduce(self, x: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Return the residual path before its norm (B, out, T, Td) and the attention's output (B, D, T, Td).

        Every query token is treated by itself, so the tokens may come in chunks.
        """
        raise NotImplementedError

    def reduce_correlation(self, query: Tensor, support: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Return `reduce(query @ support.mT, keep)`, of which no more is computed at once than the cache holds.

        The backward pass, which has no gradient for the features, computes the correlation again.

        Args:
            query: (B, C, T, e), or (1, C, T, e) for all samples.
            support: (B, C, Ts, e).
            keep: (B, Ts).
        """
        raise NotImplementedError

    def combine(self, short: Tensor, attended: Tensor) -> Tensor:
        """Return the layer's output (B, out, T, Td) from `reduce`'s, which are lost where no gradient is wanted."""
        short = run_layers(self.short_cut[-2:], short)
        return run_layers([self.out_norm], add(short, run_layers(self.agg, attended)))


class AttentionBlock(nn.Module):
    """A masked attention layer and its feed-forward.

    Args:
        attn: the attention layer.
        channels: output channels of `attn`.
        side: side of the support tokens that `attn` reads.
    """

    side: int
    attn: AttentionLayer

    def __init__(self, attn: AttentionLayer, channels: int, side: int):
        super().__init__()
        self.attn = attn
        self.ff = FeedForward(channels)
        self.side = side

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        return self.ff(self.attn(x, keep))

    def finish(self, short: Tensor, attended: Tensor) -> Tensor:
        """Return the block's output from those of `attn.reduce`, which are lost where no gradient is wanted."""
        if torch.is_grad_enabled() or torch.is_autocast_enabled(short.device.type) or short.device.type != "cpu":
            return self.ff(self.attn.combine(short, attended))
        attn = self.attn
        norm = cast(nn.GroupNorm, attn.short_cut[-2])
        return finish_layer(short.contiguous(), attended, norm, attn.agg, attn.out_norm, self.ff.ff, self.ff.out_norm)


class Learner(nn.Module):
    """Read presence and mask logits from correlation tokens (§3.5).

    Args:
        blocks: attention blocks; the last one leaves one image token (and the class token).
        width: channels of the last block.
        class_token: False builds the learner that only segments, without class token and presence head.
    """

    def __init__(self, blocks: list[AttentionBlock], width: int, class_token: bool = True):
        super().__init__()
        half = width // 2
        self.class_token = class_token
        self.corrtransformer = nn.ModuleList(blocks)
        self.linear = nn.Sequential(
            nn.Conv2d(width, width, 1), norm(width), nn.ReLU(), nn.Conv2d(width, width, 1), norm(width), nn.ReLU()
        )
        if class_token:
            self.decoder1_cls = nn.Sequential(
                nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, half, 1), nn.ReLU()
            )
            self.decoder2_cls = nn.Sequential(nn.Conv2d(half, half, 1), nn.ReLU(), nn.Conv2d(half, 2, 1))
        self.decoder1_seg = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, half, 3, padding=1), nn.ReLU()
        )
        self.decoder2_seg = nn.Sequential(
            nn.Conv2d(half, half, 3, padding=1), nn.ReLU(), nn.Conv2d(half, 2, 3, padding=1)
        )

    def forward(self, query: Tensor, support: Tensor, kept: Sequence[Tensor]) -> tuple[Tensor | None, Tensor]:
        """Classify and segment.

        Where no gradient is wanted, samples are taken one by one, so the memory is that of one sample, and no value
        depends on the other samples.

        Args:
            query: `query_features` (B, C, T, e), or (1, C, T, e) for all samples.
            support: `support_features` (B, C, Ts, e).
            kept: as `kept_by_block` returns it.

        Returns:
            presence logits (B, 2), None without class token, and mask logits (B, 2, 2·side, 2·side); entry 1 is
            present / foreground.
        """
        if torch.compiler.is_exporting():
            return self.decode(self.transform(query @ support.mT, kept))
        if torch.is_grad_enabled():
            return self.decode(self.correlate(query, support, kept))
        samples = zip(query.expand(len(support), -1, -1, -1).split(1), support.split(1), strict=True)
        answers = [
            self.decode(self.correlate(q, s, [block[sample, None] for block in kept]))
            for sample, (q, s) in enumerate(samples)
        ]
        labels = [label for label, _ in answers if label is not None]
        return torch.cat(labels) if labels else None, torch.cat([maps for _, maps in answers])

    def kept_by_block(self, masks: Tensor) -> list[Tensor]:
        """Return the support tokens (B, Ts) that masks (B, height, width) keep, for each block."""
        return [kept_tokens(masks, block.side, self.class_token) for block in self.blocks()]

    def transform(self, x: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Reduce correlation tokens (B, C, T, Ts) to the trunk's output (B, width, T, 1 or 2 tokens)."""
        for block, keep in zip(self.blocks(), kept, strict=True):
            x = block(x, keep)
        return run_layers(self.linear, x)

    def correlate(self, query: Tensor, support: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return `transform` of the correlation.

        It is stored as a whole only where gradients are wanted, and then for gradients of the features, too, or by
        another back end than packed.

        Args: as those of `forward`; one sample alone where no gradient is wanted.
        """
        if chosen_backend(query.device) != "packed" or query.requires_grad or support.requires_grad:
            if torch.is_grad_enabled():  # the attention keeps parts of its own, from which nothing would be spared
                return self.transform(query @ support.mT, kept)
            return self.transform_chunks(query, support, kept)
        x: Tensor | None = None
        for block, keep in zip(self.blocks(), kept, strict=True):
            reduced = (
                block.attn.reduce(x, keep) if x is not None else block.attn.reduce_correlation(query, support, keep)
            )
            x = block.finish(*reduced)
            del reduced  # the attention's output would stay through the next layer
        assert x is not None
        return run_layers(self.linear, x)

    def transform_chunks(self, query: Tensor, support: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return `transform` of one sample's correlation, in chunks of query tokens: for evaluation on a GPU.

        Args:
            query: (1, C, T, e).
            support: (1, C, Ts, e).
            kept: (1, Ts) for each block.
        """
        positions, tokens = query.shape[2], support.shape[1] * support.shape[2]
        step = max(1, CHUNK // tokens)
        chunks = [slice(start, start + step) for start in range(0, positions, step)]
        x: Tensor | None = None
        for block, keep in zip(self.blocks(), kept, strict=True):
            reduced: list[Tensor] = []
            for rows in chunks:
                piece = query[:, :, rows] @ support.mT if x is None else x[:, :, rows]
                for index, part in enumerate(block.attn.reduce(piece, keep)):
                    if len(reduced) == index:
                        reduced.append(part.new_empty(*part.shape[:2], positions, part.shape[3]))
                    reduced[index][:, :, rows] = part
            x = block.attn.combine(*reduced)
            reduced.clear()  # each of these is as large as the layer's output
            x = block.ff(x)
        assert x is not None
        return run_layers(self.linear, x)

    def blocks(self) -> list[AttentionBlock]:
        """Return the attention blocks in their order."""
        return [block for block in self.corrtransformer if isinstance(block, AttentionBlock)]

    def decode(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Decode the trunk's output to presence and mask logits; see `forward`."""
        side = round(x.shape[2] ** 0.5)
        labels = None
        if self.class_token:
            cls = rearrange(x[..., 0], "b c (y x) -> b c y x", y=side)
            cls = F.avg_pool2d(self.decoder1_cls(cls), 3, stride=2, padding=1)
            labels = self.decoder2_cls(cls).mean((2, 3))
        seg = self.decoder1_seg(rearrange(x[..., -1], "b c (y x) -> b c y x", y=side))
        seg = F.interpolate(seg, scale_factor=2, mode="bilinear", align_corners=True)
        return labels, self.decoder2_seg(seg)
