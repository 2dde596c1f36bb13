"""DCAMA's head: attention of query to support pixels with the support's mask as value, and the mixer (dcama.md §3-§8).

Module attributes carry the names of the authors' checkpoints, so that a `state_dict` reads the same in both.

Shapes: B samples (episodes x ways), K shots, L blocks of a scale, C channels of it, (h, w) its map, S image side.
A pyramid is four tensors, (B, L, C, h, w) of a query and (B, K, L, C, h, w) of its supports, at 1/4, 1/8, 1/16, 1/32.
"""

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from fsbench.errors import SettingsError
from fsbench.ops.mask_value_attention import attention_weights, chosen_backend, mask_value_attention
from fsbench.ops.upsampled_conv import upsampled_conv

SCALES = (4, 8, 16, 32)
GROUPS = 4  # of every GroupNorm, §6
POSITIONS = 10_000  # rows of the authors' table, §4


@dataclass(frozen=True)
class HeadOptions:
    """What the paper varies (§11); the defaults are the released program's.

    Attributes:
        support_background: "zero" multiplies the attended support features by the mask; the skips stay as they are.
        skip_scales: scales whose last block joins the decoder: of 4, 8, 16.
        skip_support: the support's last block joins it, too, not only the query's.
        attn_scales: scales that are attended: 32, 16 and 32, or all.
        support_pixels: "all", or so many of the foreground and as many of the background, drawn at random.
        heads: of every attention.
        dropout: of tokens and of attention weights, while training.
        pe: "sin1d" adds the positions, "none" does not.
        width: of the decoder; not varied in the paper.
    """

    support_background: Literal["keep", "zero"] = "keep"
    skip_scales: tuple[int, ...] = (4, 8)
    skip_support: bool = True
    attn_scales: tuple[int, ...] = (8, 16, 32)
    support_pixels: int | Literal["all"] = "all"
    heads: int = 8
    dropout: float = 0.5
    pe: Literal["sin1d", "none"] = "sin1d"
    width: int = 128

    def check(self) -> None:
        """Raise SettingsError for what the head cannot be built with."""
        allowed = ((32,), (16, 32), (8, 16, 32))
        if tuple(sorted(self.attn_scales)) not in allowed:
            raise SettingsError(f"attn_scales is {list(self.attn_scales)}, expected [32], [16, 32] or [8, 16, 32]")
        if set(self.skip_scales) - {4, 8, 16} or len(set(self.skip_scales)) < len(self.skip_scales):
            raise SettingsError(f"skip_scales is {list(self.skip_scales)}, expected some of 4, 8, 16, each once")
        if self.support_pixels != "all" and self.support_pixels < 1:
            raise SettingsError(f"support_pixels is {self.support_pixels}, expected all, or a number from 1 on")
        if self.heads < 1:
            raise SettingsError(f"heads is {self.heads}, expected 1 or more")
        if not 0 <= self.dropout < 1:
            raise SettingsError(f"dropout is {self.dropout}, expected a number from 0 to below 1")
        if self.width < 8 * GROUPS or self.width % (8 * GROUPS):
            raise SettingsError(f"width is {self.width}, expected a multiple of {8 * GROUPS}")


def position_table(length: int, channels: int) -> Tensor:
    """Rows 0..length-1 of the sines and cosines (length, channels), in the authors' order of operations (§4)."""
    frequency = torch.exp(torch.arange(0, channels, 2).float() * (-(math.log(10000.0) / channels)))
    angle = torch.arange(length).float()[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :channels]


def resize_mask(masks: Tensor, height: int, width: int) -> Tensor:
    """Support masks (..., S, S), positive is foreground -> soft values (..., height, width), corner to corner (§3)."""
    flat = masks.reshape(-1, 1, *masks.shape[-2:]).float()
    with torch.autocast(masks.device.type, enabled=False):
        resized = F.interpolate(flat, (height, width), mode="bilinear", align_corners=True)
    return resized.reshape(*masks.shape[:-2], height, width)


class Positions(nn.Module):
    """Adds the position of each token, then drops channels at random while training."""

    table: Tensor

    def __init__(self, channels: int, dropout: float, kind: Literal["sin1d", "none"] = "sin1d"):
        super().__init__()
        self.channels = channels
        self.kind = kind
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("table", position_table(0, channels).T.contiguous(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C, T) -> the same."""
        if self.kind == "none":
            return self.dropout(tokens)
        length = tokens.shape[-1]
        if self.table.shape[1] < length:
            if length > POSITIONS:
                raise SettingsError(f"{length} tokens at one scale; expected {POSITIONS} or fewer: a smaller image")
            self.table = position_table(length, self.channels).T.contiguous().to(tokens.device)
        return self.dropout(tokens + self.table[:, :length])


class MaskAttention(nn.Module):
    """Attention of one scale, shared by its blocks: two projections, no projection of value or output (§5)."""

    def __init__(self, channels: int, heads: int, dropout: float):
        super().__init__()
        if channels % heads:
            raise SettingsError(f"{heads} heads do not divide the {channels} channels of the features")
        first = nn.Linear(channels, channels)
        self.linears = nn.ModuleList([first, copy.deepcopy(first)])  # they start alike
        self.heads = heads
        self.dropout = dropout

    def project(self, which: int, tokens: Tensor) -> Tensor:
        """Tokens (B, C, T) as queries (0) or keys (1), (B, C, T)."""
        linear = self.linears[which]
        assert isinstance(linear, nn.Linear)
        return F.conv1d(tokens, linear.weight[..., None], linear.bias)

    def forward(self, query: Tensor, support: Tensor, value: Tensor) -> Tensor:
        """Tokens (B, C, T) and (B, C, Ts), values (B, Ts) -> averages (B, T)."""
        dropout = self.dropout if self.training else 0.0
        q, k = self.project(0, query), self.project(1, support)
        return mask_value_attention(q, k, value, self.heads, dropout)


def conv_block(channels: Sequence[int], kernels: Sequence[int]) -> nn.Sequential:
    """Three times convolution, GroupNorm, ReLU (§6). `channels` begins with the input's."""
    layers: list[nn.Module] = []
    for inner, outer, kernel in zip(channels, channels[1:], kernels, strict=False):
        layers += [nn.Conv2d(inner, outer, kernel, padding=kernel // 2), nn.GroupNorm(GROUPS, outer), nn.ReLU()]
    return nn.Sequential(*layers)


def mixer(*channels: int, last_relu: bool = True) -> nn.Sequential:
    """Two 3 x 3 convolutions, each followed by a ReLU (§7)."""
    first, second = (nn.Conv2d(i, o, 3, padding=1) for i, o in itertools.pairwise(channels))
    return nn.Sequential(first, nn.ReLU(), second, *([nn.ReLU()] if last_relu else []))


def enlarge(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=True)


class DCAMAHead(nn.Module):
    """Pyramids of query and supports, and the support masks -> two-class logits at image size.

    Args:
        channels: of the pyramid's scales.
        blocks: number of blocks of each scale in the pyramid.
        options: the variants.
    """

    def __init__(self, channels: tuple[int, ...], blocks: tuple[int, ...], options: HeadOptions | None = None):
        super().__init__()
        self.options = o = options or HeadOptions()
        o.check()
        depth, width = dict(zip(SCALES, blocks, strict=True)), dict(zip(SCALES, channels, strict=True))
        attended: list[int] = [scale for scale in (8, 16, 32) if scale in o.attn_scales]
        names: dict[int, str] = {scale: str(index) for index, scale in enumerate((8, 16, 32))}
        self.DCAMA_blocks = nn.ModuleDict({names[s]: MaskAttention(width[s], o.heads, o.dropout) for s in attended})
        self.pe = nn.ModuleDict({names[s]: Positions(width[s], o.dropout, o.pe) for s in attended})
        self.names = {scale: names[scale] for scale in attended}

        full, half, eighth = o.width, o.width // 2, o.width // 8
        self.conv1 = conv_block((depth[32], eighth, half, full), (3, 3, 3))
        if 16 in attended:
            self.conv2 = conv_block((depth[16], eighth, half, full), (5, 3, 3))
        if 8 in attended:
            self.conv3 = conv_block((depth[8], eighth, half, full), (5, 5, 3))
        self.conv4 = conv_block((full, full, full, full), (3, 3, 3))
        self.conv5 = conv_block((full, full, full, full), (3, 3, 3))
        sides = 2 if o.skip_support else 1
        if 16 in o.skip_scales:  # our definition, §11
            self.skip16 = nn.Sequential(nn.Conv2d(full + sides * width[16], full, 3, padding=1), nn.ReLU())
        joined = full + sides * sum(width[scale] for scale in (4, 8) if scale in o.skip_scales)
        self.mixer1 = mixer(joined, full, half)
        self.mixer2 = mixer(half, half, eighth)
        self.mixer3 = mixer(eighth, eighth, 2, last_relu=False)

    def forward(
        self,
        query: Sequence[Tensor],
        support: Sequence[Tensor],
        masks: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Query pyramid, support pyramids, and masks (B, K, S, S) -> logits (B, 2, S, S); 1 is foreground.

        `generator` draws the support pixels, where not all are used.
        """
        if masks.shape[-1] != masks.shape[-2] or masks.shape[-1] != 4 * query[0].shape[-1]:
            raise SettingsError(
                f"DCAMA got an image of {masks.shape[-2]}x{masks.shape[-1]} pixels whose finest features are "
                f"{query[0].shape[-2]}x{query[0].shape[-1]}; expected a square of four times their side"
            )
        return self.decode(self.coarse_masks(query, support, masks, generator), query, support)

    def coarse_masks(
        self,
        query: Sequence[Tensor],
        support: Sequence[Tensor],
        masks: Tensor,
        generator: torch.Generator | None = None,
    ) -> dict[int, Tensor]:
        """Coarse masks (B, L, h, w) in [0, 1] (in eval mode) of every attended scale."""
        return {
            scale: self._aggregate(scale, query[SCALES.index(scale)], support[SCALES.index(scale)], masks, generator)
            for scale in self.names
        }

    def tokens(self, scale: int, query: Tensor, support: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens of one scale with their positions, blocks beside samples: of the query (B·L, C, T), of the support
        (B·L, C, K·T), shot by shot, and their values (B·L, K·T)."""
        pe = self.pe[self.names[scale]]
        values = resize_mask(masks, query.shape[-2], query.shape[-1])
        if self.options.support_background == "zero":
            support = support * values[:, :, None, None]
        q = pe(rearrange(query, "b l c h w -> (b l) c (h w)"))
        s = pe(rearrange(support, "b k l c h w -> (b l) k c (h w)"))
        s = rearrange(s, "n k c t -> n c (k t)")
        return q, s, repeat(values, "b k h w -> (b l) (k h w)", l=query.shape[1])

    def _aggregate(
        self, scale: int, query: Tensor, support: Tensor, masks: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        q, s, value = self.tokens(scale, query, support, masks)
        if self.options.support_pixels != "all":
            drawn = torch.stack([balanced_sample(v, self.options.support_pixels, generator) for v in value])
            value, s = value.gather(1, drawn), s.gather(2, repeat(drawn, "n t -> n c t", c=s.shape[1]))
        found = self.DCAMA_blocks[self.names[scale]](q, s, value)
        return found.view(query.shape[0], query.shape[1], *query.shape[-2:])

    def attention_row(
        self, scale: int, query: Sequence[Tensor], support: Sequence[Tensor], masks: Tensor, row: int, column: int
    ) -> Tensor:
        """Attention of the token at (row, column) of the first sample to its supports, mean of the heads: (L, K, h, w).
        Of all support pixels, also where the head is trained on a sample of them."""
        q, s, _ = self.tokens(scale, query[SCALES.index(scale)][:1], support[SCALES.index(scale)][:1], masks[:1])
        block = self.DCAMA_blocks[self.names[scale]]
        assert isinstance(block, MaskAttention)
        height, width = query[SCALES.index(scale)].shape[-2:]
        one = q[..., row * width + column, None]
        weights = attention_weights(block.project(0, one), block.project(1, s), block.heads).mean(1)
        return rearrange(weights, "l 1 (k h w) -> l k h w", h=height, w=width)

    def decode(self, coarse: dict[int, Tensor], query: Sequence[Tensor], support: Sequence[Tensor]) -> Tensor:
        """Coarse masks and skips -> logits (§6, §7). Skips of several shots are joined by their maximum (§8)."""
        skips = {
            scale: torch.cat([q[:, -1], *([s[:, :, -1].amax(1)] if self.options.skip_support else [])], 1)
            for scale, q, s in zip(SCALES, query, support, strict=True)
            if scale in self.options.skip_scales
        }
        grid = {scale: q.shape[-2:] for scale, q in zip(SCALES, query, strict=True)}
        x = enlarge(self.conv1(coarse[32]), grid[16])
        if 16 in coarse:
            x = x + self.conv2(coarse[16])
        x = self.conv4(x)
        if 16 in skips:
            x = self.skip16(torch.cat([x, skips[16]], 1))
        x = enlarge(x, grid[8])
        if 8 in coarse:
            x = x + self.conv3(coarse[8])
        x = self.conv5(x)
        if 8 in skips:
            x = torch.cat([x, skips[8]], 1)
        x = self._mix(x, skips.get(4), grid[4])
        x = self.mixer2(enlarge(x, (2 * x.shape[-2], 2 * x.shape[-1])))
        logits: Tensor = self.mixer3(enlarge(x, (2 * x.shape[-2], 2 * x.shape[-1])))
        return logits

    def _mix(self, x: Tensor, skip: Tensor | None, size: torch.Size) -> Tensor:
        """The first mixer on the enlarged `x` and the finest skip."""
        first = self.mixer1[0]
        assert isinstance(first, nn.Conv2d)
        if chosen_backend(x.device) == "reference":
            enlarged = enlarge(x, size)
            mixed: Tensor = self.mixer1(enlarged if skip is None else torch.cat([enlarged, skip], 1))
            return mixed
        coarse, fine = first.weight.split([x.shape[1], first.in_channels - x.shape[1]], 1)
        y = upsampled_conv(x, coarse, (size[0], size[1]))
        assert first.bias is not None
        y = y + (first.bias[:, None, None] if skip is None else F.conv2d(skip, fine, first.bias, padding=1))
        mixed = self.mixer1[1:](y)
        return mixed


def balanced_sample(values: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Indices of `count` foreground tokens (value above 0.5) and as many others of (T,) values (§11).

    Without replacement where there are enough, else with; a side without any token is left to the other.
    """
    sides = [(values > 0.5).nonzero()[:, 0], (values <= 0.5).nonzero()[:, 0]]
    sides = [side if len(side) else other for side, other in zip(sides, sides[::-1], strict=True)]
    picked = []
    for side in sides:
        if len(side) >= count:
            order = torch.randperm(len(side), generator=generator)[:count]
        else:
            order = torch.randint(len(side), (count,), generator=generator)
        picked.append(side[order.to(side.device)])
    return torch.cat(picked)
