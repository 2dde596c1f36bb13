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
    """Return the sine position code of positions 0..length-1, (length, channels), rounded like the authors' (§4)."""
    frequency = torch.exp(torch.arange(0, channels, 2).float() * (-(math.log(10000.0) / channels)))
    angle = torch.arange(length).float()[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :channels]


def resize_mask(masks: Tensor, height: int, width: int) -> Tensor:
    """Resize support masks (..., S, S), where positive is foreground, to soft masks (..., height, width) in [0, 1].

    The resizing is bilinear with aligned corners, in fp32 (§3).
    """
    flat = masks.reshape(-1, 1, *masks.shape[-2:]).float()
    with torch.autocast(masks.device.type, enabled=False):
        resized = F.interpolate(flat, (height, width), mode="bilinear", align_corners=True)
    return resized.reshape(*masks.shape[:-2], height, width)


class Positions(nn.Module):
    """Module that adds a position code to each token, with dropout in training (§4).

    Args:
        channels: C, channels of a token.
        dropout: probability with which an entry of the result is dropped in training.
        kind: "sin1d" adds a sine position code, "none" adds nothing.
    """

    table: Tensor

    def __init__(self, channels: int, dropout: float, kind: Literal["sin1d", "none"] = "sin1d"):
        super().__init__()
        self.channels = channels
        self.kind = kind
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("table", position_table(0, channels).T, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (..., C, T) plus the position code of each of the T positions, with dropout in training.

        Raises:
            SettingsError: there are more tokens than the position table allows.
        """
        if self.kind == "none":
            return self.dropout(tokens)
        length = tokens.shape[-1]
        if self.table.shape[1] < length:
            if length > POSITIONS:
                raise SettingsError(f"{length} tokens at one scale; expected {POSITIONS} or fewer: a smaller image")
            self.table = position_table(length, self.channels).T.to(tokens.device)
        return self.dropout(tokens + self.table[:, :length])


class MaskAttention(nn.Module):
    """Attention whose values are support masks: each query token gets an average of the masks (§5).

    One module serves all backbone blocks of a scale. Queries and keys are projected; values and output are not.

    Args:
        channels: C, channels of a token.
        heads: number of heads, which must divide C.
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
        """Average the values (B, Ts) by the attention of projected query tokens to support tokens; returns (B, T).

        Args:
            q: query tokens (B, C, T), already projected.
            support: support tokens (B, C, Ts), not yet projected.
            value: soft masks (B, Ts) of the support tokens.
        """
        dropout = self.dropout if self.training else 0.0
        return mask_value_attention(q, self.project(1, support), value, self.heads, dropout)


def balanced_sample(values: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Draw `count` foreground and `count` background tokens of a support at random (§11, `support_pixels`).

    Tokens are drawn without replacement if there are enough of a kind, otherwise with replacement. If a support has no
    foreground (or no background) token, background (or foreground) tokens are drawn instead.

    Args:
        values: soft mask (Ts,) of the tokens; foreground is above 0.5.
        count: number of foreground tokens, and of background tokens.
        generator: random generator; None for torch's global one.

    Returns:
        Indices (2·count,) int64 of the drawn tokens.
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
