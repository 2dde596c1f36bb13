"""DCAMA's head: coarse masks of all blocks by attention, and the decoder that refines them (dcama.md §3, §6-§8).

Module attributes carry the names of the authors' checkpoints, so that a `state_dict` reads the same in both.

Shapes: B samples (episodes x ways), K shots, L blocks of a scale, C channels of it, (h, w) its map, S image side.
A pyramid is four tensors, (B, L, C, h, w) of a query and (B, K, L, C, h, w) of its supports, at 1/4, 1/8, 1/16, 1/32.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.methods.dcama.attention import MaskAttention, Positions, balanced_sample, resize_mask
from fsbench.networks.ops.mask_value_attention import attention_weights

SCALES = (4, 8, 16, 32)  # image side / map side of a pyramid's scales
GROUPS = 4  # groups of every GroupNorm, §6


@dataclass(frozen=True)
class HeadOptions:
    """Options of the head; the defaults are the released program's.

    Attributes:
        support_background: "zero" multiplies the attended support features by the mask; the skips stay as they are.
        skip_scales: scales whose last block joins the decoder, some of 4, 8, 16.
        skip_support: the support's last block joins the decoder as well as the query's.
        attn_scales: scales that are attended: 32, 16 and 32, or all.
        support_pixels: "all", or a number of foreground and as many background pixels, drawn at random.
        heads: heads of every attention.
        dropout: probability of dropping tokens and attention weights while training.
        pe: "sin1d" adds positions to the tokens, "none" does not.
        width: channels of the decoder; not varied in the paper.
    """

    support_background: Literal["keep", "zero"] = "keep"
    skip_scales: tuple[int, ...] = (4, 8)  # Tab. S3
    skip_support: bool = True  # Tab. S5 a
    attn_scales: tuple[int, ...] = (8, 16, 32)  # Tab. S4
    support_pixels: int | Literal["all"] = "all"  # Tab. S5 b
    heads: int = 8  # §5
    dropout: float = 0.5  # §5
    pe: Literal["sin1d", "none"] = "sin1d"  # §4
    width: int = 128  # §6

    def check(self) -> None:
        """Raise SettingsError if no head can be built with these options."""
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


def conv_block(channels: Sequence[int], kernels: Sequence[int]) -> nn.Sequential:
    """Build three times convolution, GroupNorm, ReLU (§6); `channels` begins with the input's."""
    layers: list[nn.Module] = []
    for inner, outer, kernel in zip(channels, channels[1:], kernels, strict=False):
        layers += [nn.Conv2d(inner, outer, kernel, padding=kernel // 2), nn.GroupNorm(GROUPS, outer), nn.ReLU()]
    return nn.Sequential(*layers)


def mixer(*channels: int, last_relu: bool = True) -> nn.Sequential:
    """Build two 3 x 3 convolutions, each followed by a ReLU (§7)."""
    first, second = (nn.Conv2d(i, o, 3, padding=1) for i, o in itertools.pairwise(channels))
    return nn.Sequential(first, nn.ReLU(), second, *([nn.ReLU()] if last_relu else []))


def enlarge(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Resize maps (B, C, h, w), bilinear with aligned corners."""
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=True)


def mean_coarse_mask(coarse: dict[int, Tensor]) -> Tensor:
    """Return the mean (B, h, w) of the coarse masks (B, L, ·, ·) of all blocks, at the size of the finest scale.

    It is the attention of Fig. S5, a mean over heads, blocks and scales, as far as it falls on the supports'
    foreground.
    """
    size = coarse[min(coarse)].shape[-2:]
    return torch.cat([enlarge(masks.float(), size) for masks in coarse.values()], 1).mean(1).clamp(0, 1)


class DCAMAHead(nn.Module):
    """Segment a query by pyramids of query and supports, and the support masks.

    Args:
        channels: channels of the pyramid's scales.
        blocks: number of blocks of each scale of the pyramid.
        options: variants; None is the released program.
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
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Segment the query.

        Args:
            query: pyramid.
            support: pyramids of the supports.
            masks: (B, K, S, S).
            generator: draws the support pixels where not all are used; None is torch's global generator.

        Returns:
            logits (B, 2, S, S), entry 1 foreground, and the `coarse_masks` that they are decoded from.
        """
        if masks.shape[-1] != masks.shape[-2] or masks.shape[-1] != 4 * query[0].shape[-1]:
            raise SettingsError(
                f"DCAMA got an image of {masks.shape[-2]}x{masks.shape[-1]} pixels whose finest features are "
                f"{query[0].shape[-2]}x{query[0].shape[-1]}; expected a square of four times their side"
            )
        coarse = self.coarse_masks(query, support, masks, generator)
        return self.decode(coarse, query, support), coarse

    def coarse_masks(
        self,
        query: Sequence[Tensor],
        support: Sequence[Tensor],
        masks: Tensor,
        generator: torch.Generator | None = None,
    ) -> dict[int, Tensor]:
        """Return the coarse masks (B, L, h, w) of every attended scale, in [0, 1] in eval mode; see `forward`."""
        coarse = {}
        for scale in self.names:
            q, s = query[SCALES.index(scale)], support[SCALES.index(scale)]
            step = q.shape[1] if self.training else 1  # so that in a test the memory is that of one block
            parts = zip(q.split(step, 1), s.split(step, 2), strict=True)
            coarse[scale] = torch.cat([self._coarse_masks(scale, *part, masks, generator) for part in parts], 1)
        return coarse

    def _coarse_masks(
        self, scale: int, query: Tensor, support: Tensor, masks: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        q, s, value = self.tokens(scale, query, support, masks)
        if self.options.support_pixels != "all":
            drawn = torch.stack([balanced_sample(v, self.options.support_pixels, generator) for v in value])
            value, s = value.gather(1, drawn), s.gather(2, repeat(drawn, "n t -> n c t", c=s.shape[1]))
        found: Tensor = self.DCAMA_blocks[self.names[scale]](q, s, value)
        return found.view(*query.shape[:2], *query.shape[-2:])

    def tokens(self, scale: int, query: Tensor, support: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the tokens of one scale with their positions, its blocks as samples.

        Returns:
            query tokens (B·L, C, T), support tokens (B·L, C, K·T), shot by shot, and their values (B·L, K·T).
        """
        place = self.pe[self.names[scale]]
        values = resize_mask(masks, support.shape[-2], support.shape[-1])
        if self.options.support_background == "zero":
            support = support * values[:, :, None, None]
        q = place(rearrange(query, "b l c h w -> (b l) c (h w)"))
        s = place(rearrange(support, "b k l c h w -> (b l) k c (h w)"))
        value = repeat(values, "b k h w -> (b l) (k h w)", l=support.shape[2])
        return q, rearrange(s, "n k c t -> n c (k t)"), value

    def attention_row(
        self, scale: int, query: Sequence[Tensor], support: Sequence[Tensor], masks: Tensor, row: int, column: int
    ) -> Tensor:
        """Return the attention of one query token to all support pixels, mean over heads.

        Args:
            scale: scale of the token.
            query, support, masks: as in `forward`; the first sample counts.
            row, column: the token's place in its map.

        Returns:
            (L, K, h, w), of all support pixels also where the head is trained on a sample of them.
        """
        q, s, _ = self.tokens(scale, query[SCALES.index(scale)][:1], support[SCALES.index(scale)][:1], masks[:1])
        block = self.DCAMA_blocks[self.names[scale]]
        assert isinstance(block, MaskAttention)
        height, width = query[SCALES.index(scale)].shape[-2:]
        token = q[..., row * width + column, None]
        weights = attention_weights(block.project(0, token), block.project(1, s), block.heads).mean(1)
        return rearrange(weights, "l 1 (k h w) -> l k h w", h=height, w=width)

    def decode(self, coarse: dict[int, Tensor], query: Sequence[Tensor], support: Sequence[Tensor]) -> Tensor:
        """Refine coarse masks to logits (B, 2, S, S) (§6, §7); the shots' skips are joined by their maximum (§8)."""
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
        x = enlarge(x, grid[4])
        x = self.mixer1(torch.cat([x, skips[4]], 1) if 4 in skips else x)
        x = self.mixer2(enlarge(x, (2 * x.shape[-2], 2 * x.shape[-1])))
        logits: Tensor = self.mixer3(enlarge(x, (2 * x.shape[-2], 2 * x.shape[-1])))
        return logits
