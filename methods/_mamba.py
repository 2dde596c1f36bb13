"""HMNet's hybrid Mamba network: self blocks, and blocks in which the query's scan recaps the support (hmnet.md §6).

Module and parameter names are those of the authors' checkpoints.

Shapes: b samples, C model width, d = 2C inner width, N states, R rank of the step sizes, S feature side, r patches a
side, s = S / r, k = 4 directions (row, column and both reversed), L tokens.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.errors import SettingsError
from fsbench.ops.selective_scan import MOST_STATES, selective_scan
from fsbench.ops.selective_scan.intercepted import intercept
from fsbench.ops.selective_scan.recapped import recapped_scan

DIRECTIONS = 4


@dataclass(frozen=True)
class Mixing:
    """How query and support meet; defaults are the full model, the rest rows of the ablation (§7).

    Args:
        blocks: number of blocks.
        hybrid: every second block mixes query and support; False makes all of them self blocks.
        srm: "recap" scans the support before each query patch, "basic" once before the first, "off" not at all.
        qim: "share" reads the support's state with the parameters of direction 0, "basic" with its own, "off" not.
        qim_scalar_skip: skip of the interception is the first channel's for all channels, as the authors' code has it;
            False takes each channel's own.
        ratio: query patches a side.
        states: N.
    """

    blocks: int = 8
    hybrid: bool = True
    srm: Literal["recap", "basic", "off"] = "recap"
    qim: Literal["share", "basic", "off"] = "share"
    qim_scalar_skip: bool = True
    ratio: int = 4
    states: int = 16

    def check(self, side: int) -> None:
        """Raise SettingsError unless features of side x side can be cut into patches."""
        if self.blocks < 1 or self.ratio < 1 or self.states < 1:
            raise SettingsError(
                f"blocks, ratio and states are {self.blocks}, {self.ratio}, {self.states}; expected 1 or more"
            )
        if self.states > MOST_STATES:
            raise SettingsError(f"states is {self.states}, expected at most {MOST_STATES}, as the scan takes")
        if side < 1 or side % self.ratio:
            raise SettingsError(f"feature_side is {side}, expected a multiple of the {self.ratio} patches a side")


def resize(x: Tensor, side: int) -> Tensor:
    """Bilinear with aligned corners, as every resize of the model; (b, c, ·, ·) -> (b, c, side, side)."""
    if x.shape[-2:] == (side, side):
        return x
    return F.interpolate(x, (side, side), mode="bilinear", align_corners=True)


def scan_order(x: Tensor, ratio: int = 1) -> Tensor:
    """Maps for each direction (b, k, c, h, w) -> their tokens in the order of the scan (b, k, c, L).

    Direction 0 goes by rows: patch by patch (ratio² of them), and by rows inside a patch; 1 by columns in both; 2 and 3
    are 0 and 1 reversed as a whole (§6.4).
    """
    rows, columns = _flatten(x[:, 0::2], ratio), _flatten(x[:, 1::2].mT, ratio)
    return torch.stack([rows[:, 0], columns[:, 0], rows[:, 1].flip(-1), columns[:, 1].flip(-1)], 1)


def sum_directions(y: Tensor, side: int, ratio: int = 1) -> Tensor:
    """Tokens in the order of the scan (b, k, c, L) -> the sum of their maps (b, c, side, side)."""
    rows = y[:, 0] + y[:, 2].flip(-1)
    columns = y[:, 1] + y[:, 3].flip(-1)
    return _unflatten(rows, side, ratio) + _unflatten(columns, side, ratio).mT


def _flatten(x: Tensor, ratio: int) -> Tensor:
    return rearrange(x, "... (i y) (j x) -> ... (i j y x)", i=ratio, j=ratio)


def _unflatten(x: Tensor, side: int, ratio: int) -> Tensor:
    patch = side // ratio
    return rearrange(x, "... (i j y x) -> ... (i y) (j x)", i=ratio, j=ratio, y=patch, x=patch)


def _step_size_bias(*shape: int) -> Tensor:
    """Inverse softplus of step sizes drawn log-uniformly from [0.001, 0.1] (§6.5)."""
    step = torch.exp(torch.rand(shape) * math.log(100) + math.log(1e-3)).clamp(min=1e-4)
    return step + torch.log(-torch.expm1(-step))


class ScanParameters(nn.Module):
    """Projections of one direction, and its A and D: the interception's own, `qim: basic` (§7)."""

    def __init__(self, inner: int, rank: int, states: int):
        super().__init__()
        self.x_proj_weight = nn.Parameter(_projection(1, rank + 2 * states, inner)[0])
        self.dt_proj_weight = nn.Parameter(_uniform(rank**-0.5, inner, rank))
        self.dt_proj_bias = nn.Parameter(_step_size_bias(inner))
        self.A_log = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))


def _uniform(bound: float, *shape: int) -> Tensor:
    return torch.empty(shape).uniform_(-bound, bound)


def _projection(count: int, rows: int, columns: int) -> Tensor:
    """PyTorch's default of a linear layer's weight (§6.5)."""
    return _uniform(columns**-0.5, count, rows, columns)


class SS2D(nn.Module):
    """Gated four-directional scan of query and support (§6.2); `hybrid` mixes the two (§6.4)."""

    def __init__(self, width: int, mixing: Mixing, hybrid: bool):
        super().__init__()
        inner, rank, states = 2 * width, -(-width // 16), mixing.states
        self.mixing, self.hybrid, self.rank = mixing, hybrid, rank
        self.x_proj_weight = nn.Parameter(_projection(DIRECTIONS, rank + 2 * states, inner))
        self.dt_projs_weight = nn.Parameter(_uniform(rank**-0.5, DIRECTIONS, inner, rank))
        self.dt_projs_bias = nn.Parameter(_step_size_bias(DIRECTIONS, inner))
        self.A_logs = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(DIRECTIONS * inner, 1))
        self.Ds = nn.Parameter(torch.ones(DIRECTIONS * inner))
        self.in_proj_q = nn.Linear(width, 2 * inner, bias=False)
        self.in_proj_s = nn.Linear(width, 2 * inner, bias=False)
        self.conv2d_q = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.conv2d_s = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj_q = nn.Linear(inner, width, bias=False)
        self.out_proj_s = nn.Linear(inner, width, bias=False)
        if hybrid and mixing.qim == "basic":
            self.qim = ScanParameters(inner, rank, states)

    def forward(self, q: Tensor, s: Tensor, with_support: bool = True) -> tuple[Tensor, Tensor | None]:
        """Query and support (b, S, S, C) -> what is added to them; None for the support where it is not wanted."""
        x_q, z_q = self._enter(q, self.in_proj_q, self.conv2d_q)
        x_s, z_s = self._enter(s, self.in_proj_s, self.conv2d_s) if self.hybrid or with_support else (None, None)
        if self.hybrid:
            assert x_s is not None
            y_q, y_s = self.mix(x_q, x_s)
        elif x_s is not None:
            y_q, y_s = self.scan(torch.cat([x_q, x_s])).chunk(2)
        else:
            y_q, y_s = self.scan(x_q), None
        out_q = self._leave(y_q, z_q, self.out_proj_q)
        if not with_support or y_s is None or z_s is None:
            return out_q, None
        return out_q, self._leave(y_s, z_s, self.out_proj_s)

    def scan(self, x: Tensor) -> Tensor:
        """Self core (§6.3): every map (b, d, S, S) by itself in four directions."""
        y = selective_scan(**self._arguments(self.tokens(x)))
        assert isinstance(y, Tensor)
        return sum_directions(y.unflatten(1, (DIRECTIONS, -1)), x.shape[-1])

    def mix(self, x_q: Tensor, x_s: Tensor) -> tuple[Tensor, Tensor]:
        """Hybrid core (§6.4): recapped scan of the query, interception, scan of the support; (b, d, S, S) each."""
        side, ratio = x_q.shape[-1], self.mixing.ratio
        small_q, small_s = resize(x_q, side // ratio), resize(x_s, side // ratio)
        y_q, y_s, state = self.recap(x_q, small_s)
        if self.mixing.qim != "off":
            y_q = y_q + resize(self.intercept(small_q, state.detach()), side)  # no gradient through the state
        return y_q, resize(y_s, side)

    def recap(self, x_q: Tensor, small_s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Support recapped Mamba: query (b, d, S, S) and support (b, d, s, s) -> query (b, d, S, S), support
        (b, d, s, s), and the mean over directions of the state after the support (b, d, N)."""
        side, ratio = x_q.shape[-1], self.mixing.ratio
        support = self.tokens(small_s)
        if self.mixing.srm == "recap":
            u, delta, B, C = (t.unflatten(-1, (ratio**2, -1)) for t in self.tokens(x_q, ratio))
            y_s, y_q, state = recapped_scan(*support, u, delta, B, C, **self._scan_weights())
            y_q = y_q.flatten(2)
        else:
            y_s, state = selective_scan(**self._arguments(support), return_last_state=True)
            start = state if self.mixing.srm == "basic" else None
            ratio = ratio if self.mixing.srm == "basic" else 1
            found = selective_scan(**self._arguments(self.tokens(x_q, ratio)), initial_state=start)
            assert isinstance(found, Tensor)
            y_q = found
        y_q, y_s, state = (t.unflatten(1, (DIRECTIONS, -1)) for t in (y_q, y_s, state))
        return sum_directions(y_q, side, ratio), sum_directions(y_s, small_s.shape[-1]), state.mean(1)

    def intercept(self, small_q: Tensor, state: Tensor) -> Tensor:
        """Query intercepted Mamba: every token of (b, d, s, s) reads the state (b, d, N) by itself."""
        u = small_q.flatten(2)
        inner, n = u.shape[1], self.mixing.states
        weights: tuple[Tensor, ...]
        if self.mixing.qim == "basic":
            own = self.qim
            weights = (own.x_proj_weight, own.dt_proj_weight, own.dt_proj_bias, own.A_log, own.D)
        else:
            skip = self.Ds[0] if self.mixing.qim_scalar_skip else self.Ds[:inner]
            first = (self.x_proj_weight[0], self.dt_projs_weight[0], self.dt_projs_bias[0])
            weights = (*first, self.A_logs[:inner], skip)
        x_proj, dt_proj, bias, a_log, skip = weights
        low, B, C = (x_proj @ u).split([self.rank, n, n], 1)
        delta = dt_proj @ low
        u, delta, B, C = (t.float() for t in (u, delta, B, C))
        y = intercept(u, delta, -a_log.float().exp(), B, C, skip.float(), state, bias.float(), True)
        return y.unflatten(2, small_q.shape[2:])

    def tokens(self, x: Tensor, ratio: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Maps (b, d, h, w) -> u and delta before its bias (b, k·d, L), B and C (b, k, N, L), in the order of the scan;
        fp32, as the scan wants them also under autocast."""
        n = self.mixing.states
        low = F.conv2d(x, self.x_proj_weight.flatten(0, 1)[..., None, None]).unflatten(1, (DIRECTIONS, -1))
        steps, B, C = scan_order(low, ratio).split([self.rank, n, n], 2)
        delta = self.dt_projs_weight.to(steps.dtype) @ steps
        u = scan_order(x[:, None].expand(-1, DIRECTIONS, -1, -1, -1), ratio)
        return u.flatten(1, 2).float(), delta.flatten(1, 2).float(), B.float(), C.float()

    def _arguments(self, tokens: tuple[Tensor, Tensor, Tensor, Tensor]) -> dict[str, Any]:
        return dict(zip(("u", "delta", "B", "C"), tokens, strict=True)) | self._scan_weights()

    def _scan_weights(self) -> dict[str, Any]:
        return {
            "A": -self.A_logs.float().exp(),
            "D": self.Ds.float(),
            "delta_bias": self.dt_projs_bias.float().flatten(),
            "delta_softplus": True,
        }

    def _enter(self, x: Tensor, projection: nn.Linear, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
        """(b, S, S, C) -> scan input (b, d, S, S), gate (b, S, S, d)."""
        x, z = projection(x).chunk(2, -1)
        return F.silu(conv(x.permute(0, 3, 1, 2))), z

    def _leave(self, y: Tensor, z: Tensor, projection: nn.Linear) -> Tensor:
        return projection(self.out_norm(y.permute(0, 2, 3, 1)) * F.silu(z))


class Mlp(nn.Module):
    """Two linear layers with a GELU (§6.1)."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Scan and feed-forward of both streams, with shared norms (§6.1)."""

    def __init__(self, width: int, mixing: Mixing, hybrid: bool):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.self_attention = SS2D(width, mixing, hybrid)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp_q = Mlp(width)
        self.mlp_s = Mlp(width)

    def forward(self, q: Tensor, s: Tensor, with_support: bool = True) -> tuple[Tensor, Tensor]:
        """Query and support (b, S, S, C); the support comes back unchanged where it is not wanted."""
        more_q, more_s = self.self_attention(self.ln_1(q), self.ln_1(s), with_support)
        q = q + more_q
        q = q + self.mlp_q(self.ln_2(q))
        if more_s is None:
            return q, s
        s = s + more_s
        return q, s + self.mlp_s(self.ln_2(s))

    def freeze_support(self) -> None:
        """Of a block whose support no later one learns from: parameters without use get no gradient, which several
        processes must know."""
        scan = self.self_attention
        unused: list[nn.Module] = [scan.out_proj_s, self.mlp_s]
        own_use = scan.hybrid and scan.mixing.srm != "off"
        for module in unused if own_use else [*unused, scan.in_proj_s, scan.conv2d_s]:
            module.requires_grad_(False)


class Stage(nn.Module):
    def __init__(self, blocks: list[Block]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)


class HybridMamba(nn.Module):
    """Alternating self and hybrid blocks (§6)."""

    def __init__(self, width: int, mixing: Mixing):
        super().__init__()
        blocks = [Block(width, mixing, hybrid=mixing.hybrid and i % 2 == 1) for i in range(mixing.blocks)]
        self.layers = nn.ModuleList([Stage(blocks)])
        self.norm = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.readers = mixing.blocks // 2 * 2 - 1 if mixing.hybrid else 0
        """Blocks before the last hybrid one: their support is read."""
        self.learns_from_support = mixing.hybrid and mixing.srm != "off" and mixing.blocks > 1
        """Whether the support has a gradient; the interception's state has none."""
        for block in blocks[max(self.readers, 0) if self.learns_from_support else 0 :]:
            block.freeze_support()

    @property
    def blocks(self) -> list[Block]:
        stage = self.layers[0]
        assert isinstance(stage, Stage)
        return [block for block in stage.blocks if isinstance(block, Block)]

    def forward(self, query: Tensor, support: Tensor) -> Tensor:
        """(b, C, S, S) each -> query (b, C, S, S), normalised."""
        q, s = (x.permute(0, 2, 3, 1) for x in (query, support))
        for i, block in enumerate(self.blocks):
            q, s = block(q, s, with_support=i < self.readers)
        return self.norm(q).permute(0, 3, 1, 2)
