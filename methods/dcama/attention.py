"""DCAMA's attention from query to support pixels, whose value is the support mask (dcama.md §3-§5).

Module attributes carry the names of the authors' checkpoints.

Shapes: B samples (episodes x ways x blocks), C channels of the features, T query tokens, Ts support tokens, S image
side.
"""

import copy
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.networks.ops.mask_value_attention import mask_value_attention

POSITIONS = 10_000  # rows of the authors' table, §4


def position_table(length: int, channels: int) -> Tensor:
    """Return the sine code of positions 0..length-1, (length, channels), with the authors' operations (§4)."""
    frequency = torch.exp(torch.arange(0, channels, 2).float() * (-(math.log(10000.0) / channels)))
    angle = torch.arange(length).float()[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :channels]


def resize_mask(masks: Tensor, height: int, width: int) -> Tensor:
    """Resize support masks (..., S, S), positive is foreground, to soft values (..., height, width) (§3).

    Bilinear with aligned corners, in fp32.
    """
    flat = masks.reshape(-1, 1, *masks.shape[-2:]).float()
    with torch.autocast(masks.device.type, enabled=False):
        resized = F.interpolate(flat, (height, width), mode="bilinear", align_corners=True)
    return resized.reshape(*masks.shape[:-2], height, width)


class Positions(nn.Module):
    """Adds each token's position code, with dropout in training (§4).

    Args:
        channels: C.
        dropout: probability of dropping a number.
        kind: "none" adds no positions.
    """

    table: Tensor

    def __init__(self, channels: int, dropout: float, kind: Literal["sin1d", "none"] = "sin1d"):
        super().__init__()
        self.channels = channels
        self.kind = kind
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("table", position_table(0, channels).T, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Add position codes to tokens (..., C, T)."""
        if self.kind == "none":
            return self.dropout(tokens)
        length = tokens.shape[-1]
        if self.table.shape[1] < length:
            if length > POSITIONS:
                raise SettingsError(f"{length} tokens at one scale; expected {POSITIONS} or fewer: a smaller image")
            self.table = position_table(length, self.channels).T.to(tokens.device)
        return self.dropout(tokens + self.table[:, :length])


class MaskAttention(nn.Module):
    """Attention that averages support masks, for one scale; its blocks share it (§5).

    Queries and keys are projected; value and output are not.

    Args:
        channels: C.
        heads: divides C.
        dropout: probability of dropping an attention weight while training.
    """

    def __init__(self, channels: int, heads: int, dropout: float):
        super().__init__()
        if channels % heads:
            raise SettingsError(f"{heads} heads do not divide the {channels} channels of the features")
        first = nn.Linear(channels, channels)
        self.linears = nn.ModuleList([first, copy.deepcopy(first)])  # they start alike
        self.heads = heads
        self.dropout = dropout

    def project(self, which: int, tokens: Tensor) -> Tensor:
        """Project tokens (B, C, T) to queries (`which` 0) or keys (1)."""
        linear = self.linears[which]
        assert isinstance(linear, nn.Linear)
        if tokens.stride(1) == 1:  # channels last
            return F.linear(tokens.mT, linear.weight, linear.bias).mT
        return F.conv1d(tokens, linear.weight[..., None], linear.bias)

    def forward(self, query: Tensor, support: Tensor, value: Tensor) -> Tensor:
        """Average the values (B, Ts) by the attention of tokens (B, C, T) to tokens (B, C, Ts); returns (B, T)."""
        return self.attend(self.project(0, query), support, value)

    def attend(self, q: Tensor, support: Tensor, value: Tensor) -> Tensor:
        """Average values for an already projected query (B, C, T)."""
        dropout = self.dropout if self.training else 0.0
        return mask_value_attention(q, self.project(1, support), value, self.heads, dropout)


def balanced_sample(values: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Draw `count` foreground and `count` background tokens (§11, `support_pixels`).

    Without replacement where there are enough, else with. A side without any token is filled from the other.

    Args:
        values: (Ts,); foreground is above 0.5.
        count: tokens of each side.
        generator: None draws from torch's global generator.

    Returns:
        indices (2·count,), int64.
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
