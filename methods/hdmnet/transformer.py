"""HDMNet's transformer: query and supports by themselves at three sizes, matched from coarse to fine (hdmnet.md §4).

Names are those of the authors' checkpoints, below `transformer.mix_transformer`.

Shapes: b samples, K shots, h the side of a map, h_i that of stage i, m = h·h tokens of an image, row by row, n source
tokens, d channels, j heads, H image side.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.methods.modules.maps import resize

HEADS = (2, 4, 8)
"""Heads of the self blocks of each stage (§4)."""
REDUCTIONS = (4, 2, 1)
"""Factors by which their keys are reduced (§4)."""
PROJECTIONS = ((1, 1, 0), (3, 2, 1), (3, 2, 1))
"""Kernel, stride and padding of the convolution that begins each stage (§4)."""
SMALLEST = 4
"""Side of the smallest map that the first stage's keys can be reduced from."""
EPS = 1e-6
"""Epsilon of every LayerNorm (§4)."""
DROPOUT = 0.1
"""Share of entries that each of a block's three dropouts drops (§4.1)."""
TEMPERATURE = 0.1
"""By which cosines are divided in matching (§4.3)."""
TOGETHER = 512
"""Support tokens that are matched at a time, so that memory does not grow with the supports."""


def as_map(tokens: Tensor) -> Tensor:
    """Return tokens (b, m, d) as a square map (b, d, h, h)."""
    return rearrange(tokens, "b (h w) d -> b d h w", h=round(tokens.shape[1] ** 0.5))


def as_tokens(x: Tensor) -> Tensor:
    """Return a map (b, d, h, h) as tokens (b, m, d)."""
    return rearrange(x, "b d h w -> b (h w) d")


class Projections(nn.Module):
    """Query, key, value and output projections of a multi-head attention with j heads, without bias (§4.1)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_o = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )

    def project(self, query: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (b, j, m, d/j) of the tokens `query` (b, m, d), and keys and values of the tokens `source`.

        `source` is (b, n, d), keys and values are (b, j, n, d/j) each, for j heads.
        """
        layers = (self.linear_q, query), (self.linear_k, source), (self.linear_v, source)
        q, k, v = (rearrange(layer(x), "b n (j d) -> b j n d", j=self.heads) for layer, x in layers)
        return q, k, v

    def joined(self, y: Tensor) -> Tensor:
        """Join the heads' weighted values (b, j, m, d/j) and project them: the attention's output (b, m, d)."""
        found: Tensor = self.linear_o(rearrange(y, "b j m d -> b m (j d)"))
        return found


class SelfAttention(Projections):
    """Attention of an image's tokens to the tokens of the same image, or to a reduced set of them (§4.2)."""

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the attention logits (b, j, m, n), before softmax, of queries `q` (b, j, m, d/j) and keys `k`."""
        return q @ k.mT / (q.shape[-1] ** 0.5 + 1e-9)

    def forward(self, query: Tensor, source: Tensor) -> Tensor:
        q, k, v = self.project(query, source)
        return self.joined(self.scores(q, k).softmax(3) @ v)


class Matching(Projections):
    """Attention of query to support tokens whose weights are normalised over the query's tokens (§4.3)."""

    def forward(self, query: Tensor, source: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Match tokens of a query with the foreground tokens of its supports.

        Args:
            query: tokens of the query (b, m, d).
            source: tokens of all supports (b, n, d).
            mask: (b, n), 1 where a support token is foreground, 0 elsewhere; other tokens have no effect.

        Returns:
            The output (b, m, d), a sum over foreground tokens that is not normalised, and the matching map (b, m), the
            mean score over foreground tokens and heads; 0 if no token is foreground.
        """
        foreground = mask.argsort(dim=1, descending=True, stable=True)[:, : int(mask.sum(1).max())]
        mask = mask.gather(1, foreground)[:, None, None]  # samples with fewer keep some that count nothing
        source = source.gather(1, foreground[..., None].expand(-1, -1, source.shape[2]))
        q, k, v = self.project(query, source)
        q, k = F.normalize(q, dim=3), F.normalize(k, dim=3)
        found, total = torch.zeros_like(q), q.new_zeros(q.shape[:3])
        for keys, values, part in zip(*(x.split(TOGETHER, 2) for x in (k, v)), mask.split(TOGETHER, 3), strict=True):
            scores = q @ keys.mT / TEMPERATURE
            found = found + (scores.softmax(2) * part) @ values
            total = total + (scores * part).sum(3)
        return self.joined(found), total.mean(1) / (mask.sum((1, 2, 3))[:, None] + 1e-9)


class FeedForward(nn.Module):
    """Feed-forward network on a map: two 1x1 convolutions around a depthwise one (§4.1)."""

    def __init__(self, width: int):
        super().__init__()
        hidden = 4 * width
        self.layers = nn.Sequential(
            nn.Conv2d(width, hidden, 1),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            nn.Conv2d(hidden, width, 1),
            nn.Dropout(DROPOUT),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return as_tokens(self.layers(as_map(tokens)))


class ReducedAttention(nn.Module):
    """Self attention whose keys and values come from the map reduced by r in height and width (§4.2).

    Rows and columns beyond a multiple of r are dropped.

    Args:
        width: d, channels of a token.
        heads: j, number of heads.
        reduction: r, factor by which height and width are reduced; 1 for no reduction.
    """

    def __init__(self, width: int, heads: int, reduction: int):
        super().__init__()
        self.attn = SelfAttention(width, heads)
        self.sr: nn.Module | None = None
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, reduction)
            self.norm = nn.LayerNorm(width, EPS)

    def source(self, tokens: Tensor) -> Tensor:
        """Return the tokens (b, n, d) for keys and values: the image's tokens (b, m, d), reduced if r is above 1."""
        return tokens if self.sr is None else self.norm(as_tokens(self.sr(as_map(tokens))))

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.attn(tokens, self.source(tokens))
        return found


class SupportAttention(nn.Module):
    """Wrapper of a block's `Matching`, so that its parameters have the names of the authors' checkpoints."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = Matching(width, heads)

    def forward(self, query: Tensor, source: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.attn(query, source, mask)
        return found


class Block(nn.Module):
    """Transformer block: an attention and a feed-forward network, each with a residual connection (§4.1)."""

    def __init__(self, width: int, attention: nn.Module):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, EPS)
        self.attn = attention
        self.norm2 = nn.LayerNorm(width, EPS)
        self.ffn = FeedForward(width)
        self.drop = nn.Dropout(DROPOUT)

    def added(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """Return tokens (b, m, d) plus the attention's output, then plus the feed-forward network's output."""
        tokens = tokens + self.drop(attended)
        found: Tensor = tokens + self.ffn(self.norm2(tokens))
        return found


class SelfBlock(Block):
    """Transformer block with self attention, on the tokens (b, m, d) of one image."""

    def __init__(self, width: int, heads: int, reduction: int):
        super().__init__(width, ReducedAttention(width, heads, reduction))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.added(tokens, self.attn(self.norm1(tokens)))


class MatchBlock(Block):
    """Transformer block that matches a query's tokens with its supports' tokens; both share one LayerNorm (§4.3)."""

    def __init__(self, width: int, heads: int = 2):
        super().__init__(width, SupportAttention(width, heads))

    def forward(self, tokens: Tensor, source: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Match query tokens with the supports' foreground tokens; return new tokens and the matching map.

        Args:
            tokens: tokens of the query (b, m, d).
            source: tokens of all supports (b, n, d).
            mask: (b, n), 1 where a support token is foreground, 0 elsewhere.

        Returns:
            Tokens (b, m, d) of the query, and each query token's mean matching score (b, m).
        """
        attended, matched = self.attn(self.norm1(tokens), self.norm1(source), mask)
        return self.added(tokens, attended), matched


class Embedding(nn.Module):
    """First layer of a transformer stage, which turns a map (b, d, ·, ·) into tokens (b, m, d)."""

    def __init__(self, width: int, kernel: int, stride: int, padding: int):
        super().__init__()
        self.projection = nn.Conv2d(width, width, kernel, stride, padding)
        self.norm = nn.LayerNorm(width, EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(as_tokens(self.projection(x)))


class Match(nn.ModuleList):
    """Layers that match a query with its supports at one transformer stage, and fuse the result with similarity maps.

    The modules are named as in the authors' checkpoints.
    """

    def __init__(self, width: int):
        super().__init__([MatchBlock(width), Fusion(width)])

    def forward(self, tokens: Tensor, source: Tensor, mask: Tensor, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """Match a query with its supports at one stage; return the fused features and the matching map.

        Args:
            tokens: the tokens of the query (b, h_i·h_i, d).
            source: the tokens of the supports (b, K·h_i·h_i, d).
            mask: (b, K·h_i·h_i), 1 on the supports' objects.
            similarity: similarity maps of the query (b, 2, h, h).

        Returns:
            Features (b, d, h_i, h_i), and each query position's mean matching score (b, h_i, h_i).
        """
        block, fusion = self
        matched, weights = block(tokens, source, mask)
        found = as_map(matched)
        side = found.shape[-1]
        return fusion(torch.cat([found, resize(similarity, side)], 1)), weights.unflatten(1, (side, side))


class Fusion(nn.Module):
    """Layers that fuse matched features and similarity maps into d channels (§4.4)."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width + 2, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")  # §7
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def normalised_convolutions(width: int) -> list[nn.Module]:
    """Build two convolutions from d = `width` to 4d channels, each with BatchNorm and no activation (§4.4)."""
    hidden = 4 * width
    first, second = nn.Conv2d(width, hidden, 1), nn.Conv2d(hidden, hidden, 3, padding=1)
    return [first, nn.BatchNorm2d(hidden), second, nn.BatchNorm2d(hidden)]


def parsing(width: int) -> nn.Sequential:
    """Build the layers that process the fused features of a stage, with d = `width` channels (§4.4)."""
    last = nn.Conv2d(4 * width, width, 1)
    return nn.Sequential(*normalised_convolutions(width), last, nn.BatchNorm2d(width), nn.ReLU())


class MixTransformer(nn.Module):
    """HDMNet's transformer: stages of self attention, and matching of query and supports at each stage.

    Args:
        width: d, channels of a token, a multiple of the largest number of heads.
    """

    def __init__(self, width: int):
        super().__init__()
        self.down_sample_layers = nn.ModuleList(
            nn.Sequential(
                Embedding(width, *projection),
                SelfBlock(width, heads, reduction),
                SelfBlock(width, heads, reduction),
                nn.LayerNorm(width, EPS),
            )
            for projection, heads, reduction in zip(PROJECTIONS, HEADS, REDUCTIONS, strict=True)
        )
        self.match_layers = nn.ModuleList(Match(width) for _ in HEADS)
        self.parse_layers = nn.ModuleList(parsing(width) for _ in HEADS)
        self.cls = nn.Sequential(*normalised_convolutions(width), nn.Conv2d(4 * width, 2, 1))

    def stages(self, x: Tensor) -> list[Tensor]:
        """Return the tokens (b, h_i·h_i, d) at each stage of self attention, for features (b, d, h, h) of one image."""
        found: list[Tensor] = []
        for stage in self.down_sample_layers:
            found.append(stage(as_map(found[-1]) if found else x))
        return found

    def forward(
        self, query: Tensor, supports: Sequence[list[Tensor]], masks: Tensor, similarity: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Match a query with its supports at all stages and decode logits.

        Args:
            query: features of the query (b, d, h, h).
            supports: for each shot the tokens of all stages, as `stages` returns them.
            masks: masks of the shots (b, K, H, H), 1 on the object.
            similarity: similarity maps of the query (b, 2, h, h).

        Returns:
            Logits (b, 2, h, h), and the matching map (b, h_i, h_i) of each stage, from coarse to fine.
        """
        maps: list[Tensor] = []
        fused: Tensor | None = None
        for i, tokens in reversed(list(enumerate(self.stages(query)))):
            side = round(tokens.shape[1] ** 0.5)
            foreground = F.interpolate(masks, (side, side), mode="nearest").flatten(1)
            source = torch.cat([stages[i] for stages in supports], 1)
            found, weights = self.match_layers[i](tokens, source, foreground, similarity)
            maps.append(weights)
            if fused is None:
                fused = self.parse_layers[i](found)
            else:
                fused = F.interpolate(fused, (side, side), mode="bilinear", align_corners=False)
                fused = fused + self.parse_layers[i](found + fused)
        logits: Tensor = self.cls(fused)
        return logits, maps
