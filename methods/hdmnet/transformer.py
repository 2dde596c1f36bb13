"""HDMNet's transformer: query and supports by themselves at three sizes, matched from coarse to fine (hdmnet.md §4).

Names are those of the authors' checkpoints, below `transformer.mix_transformer`.

Shapes: b samples, K shots, d channels, h the side of the first stage, h_i of stage i, H image side.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.methods.hdmnet.attention import EPS, MatchBlock, SelfBlock, as_map, as_tokens
from fsbench.methods.modules.maps import resize

HEADS = (2, 4, 8)
"""Heads of the self blocks of each stage (§4)."""
REDUCTIONS = (4, 2, 1)
"""Factors by which their keys are reduced (§4)."""
PROJECTIONS = ((1, 1, 0), (3, 2, 1), (3, 2, 1))
"""Kernel, stride and padding of the convolution that begins each stage (§4)."""
SMALLEST = 4
"""Side of the smallest map that the first stage's keys can be reduced from."""


class Embedding(nn.Module):
    """The beginning of a stage: a map (b, d, ·, ·) to tokens (b, m, d)."""

    def __init__(self, width: int, kernel: int, stride: int, padding: int):
        super().__init__()
        self.projection = nn.Conv2d(width, width, kernel, stride, padding)
        self.norm = nn.LayerNorm(width, EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(as_tokens(self.projection(x)))


class Match(nn.ModuleList):
    """A stage's matching, and the fusion of what it finds with the similarity maps, under the authors' names."""

    def __init__(self, width: int):
        super().__init__([MatchBlock(width), Fusion(width)])

    def forward(self, tokens: Tensor, source: Tensor, mask: Tensor, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """Return a map (b, d, h_i, h_i) and the matching map (b, h_i, h_i).

        Args:
            tokens: of the query (b, h_i·h_i, d).
            source: of the supports (b, K·h_i·h_i, d).
            mask: (b, K·h_i·h_i), 1 on the object.
            similarity: (b, 2, h, h).
        """
        block, fusion = self
        matched, weights = block(tokens, source, mask)
        found = as_map(matched)
        side = found.shape[-1]
        return fusion(torch.cat([found, resize(similarity, side)], 1)), weights.unflatten(1, (side, side))


class Fusion(nn.Module):
    """Matched features and similarity maps to d channels (§4.4)."""

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
    """Build the layers that read a stage's fused features (§4.4)."""
    last = nn.Conv2d(4 * width, width, 1)
    return nn.Sequential(*normalised_convolutions(width), last, nn.BatchNorm2d(width), nn.ReLU())


class MixTransformer(nn.Module):
    """The transformer.

    Args:
        width: d, a multiple of the most heads.
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
        """Return the tokens (b, h_i·h_i, d) of each stage of a map (b, d, h, h)."""
        found: list[Tensor] = []
        for stage in self.down_sample_layers:
            found.append(stage(as_map(found[-1]) if found else x))
        return found

    def forward(
        self, query: Tensor, supports: Sequence[list[Tensor]], masks: Tensor, similarity: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Match a query with its supports.

        Args:
            query: (b, d, h, h).
            supports: the `stages` of each shot.
            masks: masks of the shots (b, K, H, H), 1 on the object.
            similarity: (b, 2, h, h).

        Returns:
            logits (b, 2, h, h), and the matching maps (b, h_i, h_i) from coarse to fine.
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
