"""Base of CST and EMAT: correlate frozen tokens, learn to read the correlation, classify and segment one way.

The learner's layers are those that both have: masks of tokens, feed-forward, trunk and heads (emat.md §2, §3). Module
attributes carry the names of the authors' checkpoints.

Shapes: B samples, S image side, L ViT layers, H ViT heads, c channels of the ViT, e those of a head, C correlation
channels, H·L unless chosen otherwise, T query tokens = side², Ts support tokens (class token first), Td downscaled or
pooled ones, D hidden channels.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.core.outputs import Output, Target
from fsbench.core.released_format import ReleasedFormat
from fsbench.core.segmenter import Segmenter
from fsbench.methods.modules.released_config import stated_settings
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import FrozenViT
from fsbench.networks.ops.masked_attention import chosen_backend

GROUPS = 4  # groups of every GroupNorm, §3
HEADS = 8  # heads of every attention layer of the learner, §3.2

Correlation = Literal["heads", "layers", "last_layer"]
"""A channel for each head of each layer of the ViT, for each layer with all its heads together, or for each head of the
last layer alone."""


def query_features(tokens: Tensor, heads: int) -> Tensor:
    """Split backbone tokens (..., L, 1+T, H·e) into heads and scale them to unit length, (..., H·L, T, e) (§2).

    L is the number of layers, H of heads; the first token, the class token, is dropped.
    """
    return _split_heads(tokens[..., 1:, :], heads)


def support_features(tokens: Tensor, heads: int, side: int, class_token: bool) -> Tensor:
    """Split a support's tokens (..., L, 1+T, H·e) into heads of unit length, on a grid of side x side patches.

    The patch tokens are resized *before* they are normalised (§2). The result is (..., H·L, Ts, e), with
    Ts = side², plus 1 if the class token is kept (`class_token`).
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
    """Return which support tokens lie under the mask, (B, Ts) bool (§3.1).

    These are the tokens where the mask, resized bilinearly in fp32 to the token grid, is not exactly zero.

    Args:
        masks: (B, height, width); positive is foreground.
        side: side of the token grid.
        class_token: whether tokens start with a class token, which is always kept.

    Returns:
        (B, Ts) bool.
    """
    binary = masks.clamp(max=1).float()[:, None]
    with torch.autocast(masks.device.type, enabled=False):
        weights = F.interpolate(binary, (side, side), mode="bilinear", align_corners=True)
    keep = weights.flatten(1) != 0
    return F.pad(keep, (1, 0), value=True) if class_token else keep


class Norm(nn.GroupNorm):
    """Normalisation layer (GroupNorm) that overwrites its input where no gradients are needed, to save memory.

    In EMAT an input takes 60 MiB, and several inputs are in memory together.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type) or torch.compiler.is_exporting():
            return super().forward(x)
        parts = (t.chunk(self.num_groups, dim) for t, dim in ((x, 1), (self.weight, 0), (self.bias, 0)))
        for group, weight, bias in zip(*parts, strict=True):
            group.copy_(F.group_norm(group, 1, weight, bias, self.eps))
        return x


def norm(channels: int) -> nn.GroupNorm:
    """Build the GroupNorm layer of EMAT's and CST's trainable network for `channels` channels."""
    return Norm(GROUPS, channels)


def added(x: Tensor, y: Tensor) -> Tensor:
    """Return x + y; without gradients the sum overwrites y."""
    in_place = not torch.is_grad_enabled() and x.dtype == y.dtype and not torch.compiler.is_exporting()
    return y.add_(x) if in_place else x + y


Correlated = Tensor | tuple[Tensor, Tensor]
"""Correlation tokens (B, C, T, Ts), or their factors, (B or 1, C, T, e) and (B, C, Ts, e), whose product is not stored.
"""


class FeedForward(nn.Module):
    """Feed-forward layer `GN(x + W2 ReLU(GN(W1 x)))` (§3.4)."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = channels // 2
        self.ff = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            norm(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1, bias=False),
        )
        self.out_norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out_norm(added(x, self.ff(x)))
        return y


class AttentionLayer(nn.Module):
    """Base of masked attention layers on correlation tokens; subclasses define `reduce` and build the layers below.

    Attributes:
        short_cut: layers of the residual path: a map to the output's channels and tokens, then norm and ReLU.
        agg: layers after the attention, built by `aggregation`.
        out_norm: norm of the sum of both paths.
    """

    short_cut: nn.Sequential
    agg: nn.Sequential
    out_norm: nn.GroupNorm

    def reduce(self, x: Correlated, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Return the residual path before its norm (B, out, T, Td), and the attention's result (B, D, T, Td).

        Both results share no memory with other tensors, because the caller overwrites them.

        Args:
            x: correlation tokens (B, C, T, Ts), or query and support features whose product they are. The features get
                no gradient; the backward pass computes the correlation again.
            keep: (B, Ts) bool, support tokens under the mask.
        """
        raise NotImplementedError

    def forward(self, x: Correlated, keep: Tensor) -> Tensor:
        """Return tokens (B, out, T, Td) from correlation tokens, attending only to support tokens under the mask.

        Args:
            x: correlation tokens (B, C, T, Ts), or query and support features whose product they are.
            keep: (B, Ts) bool, support tokens under the mask.
        """
        short, attended = self.reduce(x, keep)
        short, attended = self.short_cut[-2:](short), self.agg(attended)
        y: Tensor = self.out_norm(added(short, attended))
        return y


def aggregation(hidden: int, out: int) -> nn.Sequential:
    """Build the layers from the attention's `hidden` channels to a layer's `out` channels: norm, ReLU, 1x1 conv (§3.2).

    A norm and a ReLU follow.
    """
    conv = nn.Conv2d(hidden, out, 1, bias=False)
    return nn.Sequential(norm(hidden), nn.ReLU(inplace=True), conv, norm(out), nn.ReLU(inplace=True))


class AttentionBlock(nn.Module):
    """Masked attention layer with feed-forward layer.

    Args:
        attn: the attention layer.
        channels: output channels of `attn`.
        side: side of the support tokens that `attn` reads.
    """

    def __init__(self, attn: AttentionLayer, channels: int, side: int):
        super().__init__()
        self.attn = attn
        self.ff = FeedForward(channels)
        self.side = side

    def forward(self, x: Correlated, keep: Tensor) -> Tensor:
        y: Tensor = self.ff(self.attn(x, keep))
        return y


class Learner(nn.Module):
    """Trainable network that predicts class presence and mask from correlations of query and support tokens (§3.5).

    Args:
        blocks: attention blocks; the last one leaves one image token (and the class token).
        width: channels of the last block.
        class_token: False builds the learner that only segments, without class token and presence head.
    """

    def __init__(self, blocks: list[AttentionBlock], width: int, class_token: bool = True):
        super().__init__()
        self.class_token, self.sides = class_token, [block.side for block in blocks]
        self.corrtransformer = nn.ModuleList(blocks)
        self.linear = nn.Sequential(
            *(nn.Conv2d(width, width, 1), norm(width), nn.ReLU(inplace=True)),
            *(nn.Conv2d(width, width, 1), norm(width), nn.ReLU(inplace=True)),
        )
        if class_token:
            self.decoder1_cls, self.decoder2_cls = decoder(width, 1)
        self.decoder1_seg, self.decoder2_seg = decoder(width, 3)

    def forward(self, query: Tensor, support: Tensor, kept: Sequence[Tensor]) -> tuple[Tensor | None, Tensor]:
        """Return presence and mask logits of the query.

        Args:
            query: unit query features (B, C, T, e), or (1, C, T, e) for all samples.
            support: unit support features (B, C, Ts, e).
            kept: for each block, which support tokens lie under the mask, (B, Ts) bool.

        Returns:
            Presence logits (B, 2), None without class token, and mask logits (B, 2, 2·side, 2·side) for a query of
            side x side tokens; entry 1 is present / foreground.
        """
        frozen = not (query.requires_grad or support.requires_grad)
        unstored = frozen and chosen_backend() == "packed"
        return self.decode(self.transform((query, support) if unstored else query @ support.mT, kept))

    def kept_by_block(self, masks: Tensor) -> list[Tensor]:
        """Return for each attention block which support tokens lie under the masks, (B, Ts) bool.

        `masks` are (B, height, width); Ts shrinks from block to block.
        """
        return [kept_tokens(masks, side, self.class_token) for side in self.sides]

    def transform(self, x: Correlated, kept: Sequence[Tensor]) -> Tensor:
        """Reduce the support axis of correlation tokens (B, C, T, Ts) by the attention blocks: (B, width, T, 1 or 2).

        What is left are one image token and, if there is one, the class token before it. `kept` holds for each block
        which support tokens lie under the mask.
        """
        for block, keep in zip(self.corrtransformer, kept, strict=True):
            x = block(x, keep)
        y: Tensor = self.linear(x)
        return y

    def decode(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Decode the output of `transform`, (B, width, T, 1 or 2), to presence logits and mask logits.

        Returns:
            Presence logits (B, 2), None without class token, and mask logits (B, 2, 2·side, 2·side), T = side².
        """
        side = round(x.shape[2] ** 0.5)
        labels = None
        if self.class_token:
            cls = rearrange(x[..., 0], "b c (y x) -> b c y x", y=side)
            cls = F.avg_pool2d(self.decoder1_cls(cls), 3, stride=2, padding=1)
            labels = self.decoder2_cls(cls).mean((2, 3))
        seg = self.decoder1_seg(rearrange(x[..., -1], "b c (y x) -> b c y x", y=side))
        seg = F.interpolate(seg, scale_factor=2, mode="bilinear", align_corners=True)
        return labels, self.decoder2_seg(seg)


def decoder(width: int, kernel: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Build two stacks of convolutions, from `width` to width / 2 channels and from there to 2 logits (§3.5).

    The output heads change the size of the map between the two stacks.
    """
    half = width // 2

    def conv(inner: int, outer: int) -> nn.Conv2d:
        return nn.Conv2d(inner, outer, kernel, padding=kernel // 2)

    first = nn.Sequential(conv(width, width), nn.ReLU(inplace=True), conv(width, half), nn.ReLU(inplace=True))
    return first, nn.Sequential(conv(half, half), nn.ReLU(inplace=True), conv(half, 2))


class SupportTokens(NamedTuple):
    """Tokens of a support, with the part under the mask.

    Attributes:
        features: unit vectors (B, C, Ts, e).
        kept: for each attention block, which tokens lie under the mask, (B, Ts) bool.
    """

    features: Tensor
    kept: list[Tensor]


class FewShotClassifierSegmenter(Segmenter):
    """Base of EMAT and CST: classifies and segments by correlations of tokens; subclasses set `learner`.

    Args:
        backbone: the frozen ViT.
        support_side: side of the grid of support tokens.
        class_token: whether class tokens are used and presence is predicted; False for a method that only segments.
        learning_rate: learning rate of Adam (§5).
        presence_weight: weight of the presence loss beside the mask loss (§5).
    """

    shots = "add"  # §6
    released_format = ReleasedFormat(stated=stated_settings)
    backbone: FrozenViT
    backbone_type = FrozenViT
    learner: Learner
    step_is_a_mean = True
    correlation: Correlation = "heads"
    """Features that a channel of the correlation compares; a subclass may let it be chosen."""

    def __init__(
        self,
        backbone: BackboneConfig,
        support_side: int,
        class_token: bool = True,
        learning_rate: float = 1e-3,
        presence_weight: float = 0.1,
    ):
        super().__init__(backbone)
        self.support_side = support_side
        self.class_token = class_token
        self.learning_rate = learning_rate
        self.presence_weight = presence_weight

    @property
    def channels(self) -> int:
        """Number of correlation channels: ViT layers x heads, or fewer by the method's setting `correlation`."""
        depth, heads = self.backbone.depth, self.backbone.heads
        return {"heads": depth * heads, "layers": depth, "last_layer": heads}[self.correlation]

    @property
    def predicts_presence(self) -> bool:  # type: ignore[override]
        return self.class_token

    def checkpoint_settings(self) -> dict[str, Any]:
        return {"support_side": self.support_side, "class_token": self.class_token}

    def as_query(self, encoded: Tensor, image: Tensor) -> Tensor:
        """Return a query's unit features (C, T, e) from its ViT tokens (L, 1 + T, c), C correlation channels.

        `image` is not used.
        """
        return query_features(*self._compared(encoded))

    def as_support(self, encoded: Tensor) -> Tensor:
        """Return a support's unit features (C, Ts, e) on the support grid from its ViT tokens (L, 1 + T, c)."""
        return support_features(*self._compared(encoded), self.support_side, self.class_token)

    def support(self, image: Tensor, mask: Tensor) -> SupportTokens:
        """Return support tokens (B, C, Ts, e) with their masks (B, S, S)."""
        return SupportTokens(image, self.learner.kept_by_block(mask))

    def segment(self, query: Tensor, support: SupportTokens) -> Output:
        presence, logits = self.learner(query, support.features, support.kept)
        return Output(logits, presence)

    def loss(self, output: Output, target: Target) -> dict[str, Tensor]:
        """Return the training losses by name: "mask" and "presence" cross-entropy and their weighted sum "loss" (§5).

        Without presence logits there is "loss" alone, the cross-entropy of the mask.
        """
        losses = super().loss(output, target)
        if output.presence is None:
            return losses
        presence = F.cross_entropy(output.presence.to(losses["loss"].dtype), target.present.long())
        return {"loss": losses["loss"] + self.presence_weight * presence, "mask": losses["loss"], "presence": presence}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.learner.parameters(), lr=self.learning_rate)  # no schedule, no decay (§5)

    def _compared(self, tokens: Tensor) -> tuple[Tensor, int]:
        """Return those of the tokens (L, 1 + T, c) that are compared, and by how many heads each."""
        chosen = tokens[-1:] if self.correlation == "last_layer" else tokens
        return chosen, 1 if self.correlation == "layers" else self.backbone.heads
