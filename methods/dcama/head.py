"""DCAMA's head: coarse masks of all blocks by attention, and the decoder that refines them (dcama.md §3, §6-§8).

Module attributes carry the names of the authors' checkpoints, so that a `state_dict` reads the same in both.

Shapes: B samples (episodes x ways), K shots, L blocks of a scale, C channels of it, (h, w) its map, S image side.
A pyramid is four tensors, (B, L, C, h, w) of a query and (B, K, L, C, h, w) of its supports, at 1/4, 1/8, 1/16, 1/32.
"""

import itertools
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.methods.dcama.attention import MaskAttention, Positions, balanced_sample, resize_mask
from fsbench.methods.dcama.options import GROUPS, HeadOptions
from fsbench.networks.ops.mask_value_attention import PartialAverage, attention_weights, chosen_backend, partial_average

SCALES = (4, 8, 16, 32)  # image side / map side of a pyramid's scales


def conv_block(channels: Sequence[int], kernels: Sequence[int]) -> nn.Sequential:
    """Build three convolutions with GroupNorm and ReLU (§6).

    Args:
        channels: channels of the input and of each convolution's output.
        kernels: kernel size of each convolution.
    """
    layers: list[nn.Module] = []
    for inner, outer, kernel in zip(channels, channels[1:], kernels, strict=False):
        layers += [nn.Conv2d(inner, outer, kernel, padding=kernel // 2), nn.GroupNorm(GROUPS, outer), nn.ReLU()]
    return nn.Sequential(*layers)


def mixer(*channels: int, last_relu: bool = True) -> nn.Sequential:
    """Build two 3 x 3 convolutions with ReLU (§7).

    Args:
        channels: channels of the input and of both outputs.
        last_relu: whether a ReLU follows the second convolution.
    """
    first, second = (nn.Conv2d(i, o, 3, padding=1) for i, o in itertools.pairwise(channels))
    return nn.Sequential(first, nn.ReLU(), second, *([nn.ReLU()] if last_relu else []))


def enlarge(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Resize maps (B, C, h, w) to (B, C, *size), bilinear with aligned corners."""
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=True)


def mean_coarse_mask(coarse: dict[int, Tensor]) -> Tensor:
    """Return the mean (B, h, w) in [0, 1] of the coarse masks of all blocks and scales, at the finest scale's size.

    `coarse` maps a scale to masks (B, L, ·, ·) of its L blocks. The result is the share of each query position's
    attention that falls on the supports' foreground (Fig. S5 of the paper).
    """
    size = coarse[min(coarse)].shape[-2:]
    return torch.cat([enlarge(masks.float(), size) for masks in coarse.values()], 1).mean(1).clamp(0, 1)


class DCAMAHead(nn.Module):
    """Network that segments a query from pyramids of query and supports, and support masks.

    Args:
        channels: channels of each scale of the pyramid.
        blocks: number of blocks of each scale of the pyramid.
        options: options of the network; None for those of the authors' program.
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
        """Segment a query by the supports' masks.

        Args:
            query: feature pyramid of the query, (B, L, C, h, w) of L blocks for each scale.
            support: feature pyramids of the K supports, (B, K, L, C, h, w) for each scale.
            masks: foreground masks of the supports (B, K, S, S).
            generator: random generator of sampled support pixels; None for torch's global one.

        Returns:
            logits (B, 2, S, S); entry 1 is foreground.
        """
        return self.segment(query, support, masks, generator)[0]

    def segment(
        self,
        query: Sequence[Tensor],
        support: Sequence[Tensor],
        masks: Tensor,
        generator: torch.Generator | None = None,
        projected: dict[int, Tensor] | None = None,
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Segment a query by the supports' masks; return logits, and the coarse masks from which they are decoded.

        Args:
            query: feature pyramid of the query, (B, L, C, h, w) for each scale.
            support: feature pyramids of the K supports, (B, K, L, C, h, w) for each scale.
            masks: foreground masks of the supports (B, K, S, S).
            generator: random generator of sampled support pixels; None for torch's global one.
            projected: the query's tokens from `project_query`; None to compute them here.

        Returns:
            Logits (B, 2, S, S), and for each scale the coarse masks (B, L, h, w) of its L blocks.

        Raises:
            SettingsError: the image is not a square of four times the side of the finest features.
        """
        if masks.shape[-1] != masks.shape[-2] or masks.shape[-1] != 4 * query[0].shape[-1]:
            raise SettingsError(
                f"DCAMA got an image of {masks.shape[-2]}x{masks.shape[-1]} pixels whose finest features are "
                f"{query[0].shape[-2]}x{query[0].shape[-1]}; expected a square of four times their side"
            )
        coarse = self.coarse_masks(query, support, masks, generator, projected)
        return self.decode(coarse, query, support), coarse

    def joins_shots(self) -> bool:
        """Return whether the query can be segmented with one shot in memory at a time (`segment_shots`).

        This is so if no gradient is needed, all support pixels are used, and attention is computed in chunks.
        """
        device = next(self.parameters()).device
        whole = self.options.support_pixels == "all" and chosen_backend(device) == "chunked"
        return whole and not torch.is_grad_enabled()

    def segment_shots(
        self, query: Sequence[Tensor], supports: Iterable[tuple[Sequence[Tensor], Tensor]], projected: dict[int, Tensor]
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Segment a query by all shots, with the features of only one shot in memory at a time.

        Args:
            query: feature pyramid of the query, (B, L, C, h, w) for each scale.
            supports: pyramid (B, L, C, h, w) and mask (B, S, S) of each shot; each is read once and not kept.
            projected: projected tokens of the query, from `project_query`.

        Returns:
            Logits (B, 2, S, S), and for each scale the coarse masks (B, L, h, w) of its L blocks, as `segment` returns.
        """
        averages: dict[tuple[int, int], PartialAverage] = {}
        last: list[Tensor] = []
        for pyramid, mask in supports:
            part, blocks = self._read_shot(projected, [scale[:, None] for scale in pyramid], mask[:, None])
            del pyramid, mask  # the next one comes while nothing of this is held
            averages = {key: averages[key].join(found) if averages else found for key, found in part.items()}
            last = list(map(torch.maximum, last, blocks)) if last else blocks
        coarse = {}
        for scale in self.names:
            shape = query[SCALES.index(scale)].shape
            found = [averages[scale, block].value.mean(1) for block in range(shape[1])]
            coarse[scale] = torch.stack(found, 1).to(projected[scale].dtype).view(*shape[:2], *shape[-2:])
        return self.decode(coarse, query, last), coarse

    def _read_shot(
        self, projected: dict[int, Tensor], support: Sequence[Tensor], masks: Tensor
    ) -> tuple[dict[tuple[int, int], PartialAverage], list[Tensor]]:
        """Return a shot's part of the attention by (scale, block), and the last blocks (B, 1, 1, C, h, w) of it."""
        averages = {}
        for scale, name in self.names.items():
            attention, maps = self.DCAMA_blocks[name], support[SCALES.index(scale)]
            assert isinstance(attention, MaskAttention)
            for block in range(maps.shape[2]):
                tokens, values = self._support_tokens(scale, maps[:, :, block, None], masks)
                key = attention.project(1, tokens)
                averages[scale, block] = partial_average(projected[scale][:, block], key, values, attention.heads)
        return averages, [maps[:, :, -1:].clone() for maps in support]

    def project_query(self, query: Sequence[Tensor]) -> dict[int, Tensor]:
        """Return the projected tokens (B, L, C, T) of a query by scale, for use with every class of the episode."""
        return {scale: self._project_query(scale, query[SCALES.index(scale)]) for scale in self.names}

    def _project_query(self, scale: int, query: Tensor) -> Tensor:
        """Return the projected tokens (B, L, C, T) of the query's maps (B, L, C, h, w) of one scale."""
        block = self.DCAMA_blocks[self.names[scale]]
        assert isinstance(block, MaskAttention)
        return block.project(0, self._query_tokens(scale, query)).unflatten(0, query.shape[:2])

    def coarse_masks(
        self,
        query: Sequence[Tensor],
        support: Sequence[Tensor],
        masks: Tensor,
        generator: torch.Generator | None = None,
        projected: dict[int, Tensor] | None = None,
    ) -> dict[int, Tensor]:
        """Return, for every scale, the support masks averaged by the query's attention in each block, (B, L, h, w).

        These coarse masks are in [0, 1] in eval mode.

        Args:
            query: feature pyramid of the query, (B, L, C, h, w) for each scale.
            support: feature pyramids of the K supports, (B, K, L, C, h, w) for each scale.
            masks: foreground masks of the supports (B, K, S, S).
            generator: random generator of sampled support pixels; None for torch's global one.
            projected: the query's tokens from `project_query`, if they serve several calls; None to compute them here,
                as in training.
        """
        coarse = {}
        for scale in self.names:
            q, s = query[SCALES.index(scale)], support[SCALES.index(scale)]
            if self.training:
                coarse[scale] = self._aggregate(scale, q, s, masks, generator)
                continue
            # one block at a time: the memory does not grow with the number of blocks
            ready = self._project_query(scale, q) if projected is None else projected[scale]
            parts = [
                self._aggregate(scale, q[:, i, None], s[:, :, i, None], masks, generator, ready[:, i])
                for i in range(q.shape[1])
            ]
            coarse[scale] = torch.cat(parts, 1)
        return coarse

    def tokens(self, scale: int, query: Tensor, support: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the tokens of query and supports at one scale, with position codes.

        The L backbone blocks of the scale are treated like samples of the batch.

        Returns:
            Query tokens (B·L, C, T), support tokens (B·L, C, K·T), shot by shot, and the supports' masks (B·L, K·T).
        """
        q = self._query_tokens(scale, query)
        return q, *self._support_tokens(scale, support, masks)

    def _query_tokens(self, scale: int, query: Tensor) -> Tensor:
        """Return the tokens (B·L, C, T) of the query's maps (B, L, C, h, w) of one scale."""
        q: Tensor = self.pe[self.names[scale]](rearrange(query, "b l c h w -> (b l) c (h w)"))
        return q

    def _support_tokens(self, scale: int, support: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Return the support tokens of `tokens`, and their values."""
        values = resize_mask(masks, support.shape[-2], support.shape[-1])
        if self.options.support_background == "zero":
            support = support * values[:, :, None, None]
        s = self.pe[self.names[scale]](rearrange(support, "b k l c h w -> (b l) k c (h w)"))
        s = rearrange(s, "n k c t -> n c (k t)")
        return s, repeat(values, "b k h w -> (b l) (k h w)", l=support.shape[2])

    def _aggregate(
        self,
        scale: int,
        query: Tensor,
        support: Tensor,
        masks: Tensor,
        generator: torch.Generator | None,
        projected: Tensor | None = None,
    ) -> Tensor:
        """Return the coarse masks (B, L, h, w) of one scale; `projected` (B·L, C, T) is the query's, if it is ready."""
        block = self.DCAMA_blocks[self.names[scale]]
        assert isinstance(block, MaskAttention)
        q = self._query_tokens(scale, query) if projected is None else projected
        s, value = self._support_tokens(scale, support, masks)
        if self.options.support_pixels != "all":
            drawn = torch.stack([balanced_sample(v, self.options.support_pixels, generator) for v in value])
            value, s = value.gather(1, drawn), s.gather(2, repeat(drawn, "n t -> n c t", c=s.shape[1]))
        coarse = block(q, s, value) if projected is None else block.attend(q, s, value)
        return coarse.view(query.shape[0], query.shape[1], *query.shape[-2:])

    def attention_row(
        self, scale: int, query: Sequence[Tensor], support: Sequence[Tensor], masks: Tensor, row: int, column: int
    ) -> Tensor:
        """Return one query token's attention to all support pixels, averaged over heads.

        Args:
            scale: stride of the feature map that the token is from: 4, 8, 16 or 32.
            query, support, masks: feature pyramids of query (B, L, C, h, w) and supports (B, K, L, C, h, w), and
                support masks (B, K, S, S); only the first of the B samples is used.
            row, column: position of the token in its feature map.

        Returns:
            Attention (L, K, h, w) of each of L blocks to K supports. It covers all support pixels, even if the head is
            trained on a sample of them.
        """
        q, s, _ = self.tokens(scale, query[SCALES.index(scale)][:1], support[SCALES.index(scale)][:1], masks[:1])
        block = self.DCAMA_blocks[self.names[scale]]
        assert isinstance(block, MaskAttention)
        height, width = query[SCALES.index(scale)].shape[-2:]
        token = q[..., row * width + column, None]
        weights = attention_weights(block.project(0, token), block.project(1, s), block.heads).mean(1)
        return rearrange(weights, "l 1 (k h w) -> l k h w", h=height, w=width)

    def decode(self, coarse: dict[int, Tensor], query: Sequence[Tensor], support: Sequence[Tensor]) -> Tensor:
        """Refine coarse masks to logits (B, 2, S, S) with skip connections from query and supports (§6, §7).

        Of several shots, the element-wise maximum of the support features is used (§8).

        Args:
            coarse: for each scale the coarse masks (B, L, h, w).
            query: feature pyramid of the query, (B, L, C, h, w) of L blocks for each scale.
            support: feature pyramids of the supports, (B, K, L, C, h, w) for each scale.
        """
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
