"""Layers of CST and EMAT: correlation tokens, masks of tokens, feed-forward, trunk and heads (emat.md §2, §3).

Module attributes carry the names of the authors' checkpoints.

Shapes: B samples (episodes x ways), L ViT layers, H ViT heads, e channels of a head, C correlation channels = H·L,
T query tokens = side², Ts support tokens (class token first).
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

GROUPS = 4  # groups of every GroupNorm, §3
HEADS = 8  # heads of every attention layer of the learner, §3.2


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
        return self.out_norm(x + self.ff(x))


class AttentionBlock(nn.Module):
    """A masked attention layer and its feed-forward.

    Args:
        attn: layer from tokens (B, C, T, Ts) and kept tokens (B, Ts) to tokens (B, channels, T, ·).
        channels: output channels of `attn`.
        side: side of the support tokens that `attn` reads.
    """

    side: int

    def __init__(self, attn: nn.Module, channels: int, side: int):
        super().__init__()
        self.attn = attn
        self.ff = FeedForward(channels)
        self.side = side

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        return self.ff(self.attn(x, keep))


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

    def forward(self, query: Tensor, support: Tensor, masks: Tensor) -> tuple[Tensor | None, Tensor]:
        """Classify and segment.

        Args:
            query: `query_features` (B, C, T, e).
            support: `support_features` (B, C, Ts, e).
            masks: support masks (B, height, width).

        Returns:
            presence logits (B, 2), None without class token, and mask logits (B, 2, 2·side, 2·side); entry 1 is
            present / foreground.
        """
        return self.decode(self.transform(query @ support.mT, masks))

    def transform(self, x: Tensor, masks: Tensor) -> Tensor:
        """Reduce correlation tokens (B, C, T, Ts) to the trunk's output (B, width, T, 1 or 2 tokens)."""
        for block in self.corrtransformer:
            assert isinstance(block, AttentionBlock)
            x = block(x, kept_tokens(masks, block.side, self.class_token))
        return self.linear(x)

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
