"""Two-dimensional selective scan of query and support, with the support recapped and intercepted (hmnet.md §6.2-§6.4).

Module and parameter names are those of the authors' checkpoints.

Shapes: b samples, C model width, d = 2C inner width, N states, R rank of the step sizes, S feature side, r patches a
side, s = S / r, k = 4 directions, L tokens. The suffixes q and s name the streams of query and support.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.methods.hmnet.mamba.config import HybridMambaConfig
from fsbench.methods.hmnet.mamba.maps import DIRECTIONS, scan_order, sum_directions
from fsbench.methods.modules.maps import resize
from fsbench.networks.ops.selective_scan import selective_scan
from fsbench.networks.ops.selective_scan.interception import intercept
from fsbench.networks.ops.selective_scan.recapped_scan import recapped_scan


class ScanTokens(NamedTuple):
    """Inputs of a scan in all directions: u and delta before its bias (b, k·d, L), B and C (b, k, N, L), in fp32."""

    u: Tensor
    delta: Tensor
    B: Tensor
    C: Tensor


def _step_size_bias(*shape: int) -> Tensor:
    """Draw step sizes log-uniformly from [0.001, 0.1] and return their inverse softplus (§6.5)."""
    step = torch.exp(torch.rand(shape) * math.log(100) + math.log(1e-3)).clamp(min=1e-4)
    return step + torch.log(-torch.expm1(-step))


class ScanParameters(nn.Module):
    """Projections, A and D of one direction: the interception's own parameters with `qim: basic` (§7)."""

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
    """Draw `count` weights by PyTorch's default for linear layers (§6.5)."""
    return _uniform(columns**-0.5, count, rows, columns)


class SS2D(nn.Module):
    """Gated scan of query and support in four directions (§6.2).

    Args:
        width: C.
        config: settings of the network.
        hybrid: mix the two streams (§6.4); False scans each by itself (§6.3).
    """

    def __init__(self, width: int, config: HybridMambaConfig, hybrid: bool):
        super().__init__()
        inner, rank, states = 2 * width, -(-width // 16), config.states
        self.config, self.hybrid, self.rank = config, hybrid, rank
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
        if hybrid and config.qim == "basic":
            self.qim = ScanParameters(inner, rank, states)

    def forward(self, q: Tensor, s: Tensor, with_support: bool = True) -> tuple[Tensor, Tensor | None]:
        """Return the residuals of query and support (b, S, S, C), None for the support without `with_support`."""
        x_q, z_q = self.project_in(q, self.in_proj_q, self.conv2d_q)
        x_s, z_s = self.project_in(s, self.in_proj_s, self.conv2d_s) if self.hybrid or with_support else (None, None)
        if self.hybrid:
            assert x_s is not None
            y_q, y_s = self.mix(x_q, x_s)
        elif x_s is not None:
            y_q, y_s = self.scan(torch.cat([x_q, x_s])).chunk(2)
        else:
            y_q, y_s = self.scan(x_q), None
        out_q = self._project_out(y_q, z_q, self.out_proj_q)
        if not with_support or y_s is None or z_s is None:
            return out_q, None
        return out_q, self._project_out(y_s, z_s, self.out_proj_s)

    def scan(self, x: Tensor) -> Tensor:
        """Scan every map (b, d, S, S) by itself in four directions: the self core (§6.3)."""
        y = selective_scan(**self.scan_arguments(self.tokens(x)))
        assert isinstance(y, Tensor)
        return sum_directions(y.unflatten(1, (DIRECTIONS, -1)), x.shape[-1])

    def mix(self, x_q: Tensor, x_s: Tensor) -> tuple[Tensor, Tensor]:
        """Mix query and support (b, d, S, S): the hybrid core (§6.4).

        The query's scan recaps the support, the interception is added, and the support is scanned by itself.
        """
        side, ratio = x_q.shape[-1], self.config.ratio
        small_q, small_s = resize(x_q, side // ratio), resize(x_s, side // ratio)
        y_q, y_s, state = self.recap(x_q, small_s)
        if self.config.qim != "off":
            read = self.intercept(small_q, state.detach())  # no gradient through the state
            y_q = y_q + resize(read.contiguous(memory_format=torch.channels_last), side)
        return y_q, resize(y_s, side)

    def recap(self, x_q: Tensor, small_s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scan the query with the support recapped before its patches: support recapped Mamba (§6.4).

        Args:
            x_q: query (b, d, S, S).
            small_s: support (b, d, s, s), of a patch's size.

        Returns:
            query (b, d, S, S), support (b, d, s, s), and the state after the support, mean over directions (b, d, N).
        """
        side, ratio = x_q.shape[-1], self.config.ratio
        support = self.tokens(small_s)
        if self.config.srm == "recap":
            u, delta, B, C = (t.unflatten(-1, (ratio**2, -1)) for t in self.tokens(x_q, ratio))
            y_s, y_q, state = recapped_scan(*support, u, delta, B, C, **self._scan_weights())
            y_q = y_q.flatten(2)
        else:
            y_s, state = selective_scan(**self.scan_arguments(support), return_last_state=True)
            start = state if self.config.srm == "basic" else None
            ratio = ratio if self.config.srm == "basic" else 1
            y = selective_scan(**self.scan_arguments(self.tokens(x_q, ratio)), initial_state=start)
            assert isinstance(y, Tensor)
            y_q = y
        y_q, y_s, state = (t.unflatten(1, (DIRECTIONS, -1)) for t in (y_q, y_s, state))
        return sum_directions(y_q, side, ratio), sum_directions(y_s, small_s.shape[-1]), state.mean(1)

    def intercept(self, small_q: Tensor, state: Tensor) -> Tensor:
        """Read the support's state (b, d, N) with every token of (b, d, s, s) by itself: query intercepted Mamba."""
        u = small_q.flatten(2)
        inner, n = u.shape[1], self.config.states
        weights: tuple[Tensor, ...]
        if self.config.qim == "basic":
            own = self.qim
            weights = (own.x_proj_weight, own.dt_proj_weight, own.dt_proj_bias, own.A_log, own.D)
        else:
            skip = self.Ds[0] if self.config.qim_scalar_skip else self.Ds[:inner]
            first = (self.x_proj_weight[0], self.dt_projs_weight[0], self.dt_projs_bias[0])
            weights = (*first, self.A_logs[:inner], skip)
        x_proj, dt_proj, bias, a_log, skip = weights
        low, B, C = (x_proj @ u).split([self.rank, n, n], 1)
        delta = dt_proj @ low
        u, delta, B, C = (t.float() for t in (u, delta, B, C))
        y = intercept(u, delta, -a_log.float().exp(), B, C, skip.float(), state, bias.float(), True)
        return y.unflatten(2, small_q.shape[2:])

    def tokens(self, x: Tensor, ratio: int = 1) -> ScanTokens:
        """Project maps (b, d, h, w) to the inputs of the scan, in its order; fp32 also under autocast."""
        n = self.config.states
        x = x.contiguous(memory_format=torch.channels_last)
        low = F.linear(x.permute(0, 2, 3, 1), self.x_proj_weight.flatten(0, 1)).permute(0, 3, 1, 2)
        steps, B, C = scan_order(low.unflatten(1, (DIRECTIONS, -1)), ratio).split([self.rank, n, n], 2)
        delta = steps.mT @ self.dt_projs_weight.to(steps.dtype).mT  # (b, k, L, d)
        delta = delta.transpose(1, 2).flatten(2).mT
        u = scan_order(x[:, None].expand(-1, DIRECTIONS, -1, -1, -1), ratio)
        return ScanTokens(u.flatten(1, 2).float(), delta.float(), B.float(), C.float())

    def scan_arguments(self, tokens: ScanTokens) -> dict[str, Any]:
        """Return the arguments of `selective_scan` for these tokens."""
        return tokens._asdict() | self._scan_weights()

    def _scan_weights(self) -> dict[str, Any]:
        return {
            "A": -self.A_logs.float().exp(),
            "D": self.Ds.float(),
            "delta_bias": self.dt_projs_bias.float().flatten(),
            "delta_softplus": True,
        }

    def project_in(self, x: Tensor, projection: nn.Linear, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
        """Project a stream (b, S, S, C) to the scan's input (b, d, S, S) and its gate (b, S, S, d)."""
        x, z = projection(x).chunk(2, -1)
        return F.silu(conv(x.permute(0, 3, 1, 2))), z

    def _project_out(self, y: Tensor, z: Tensor, projection: nn.Linear) -> Tensor:
        """Gate a scan's output (b, d, S, S) and project it to (b, S, S, C)."""
        return projection(self.out_norm(y.permute(0, 2, 3, 1)) * F.silu(z))
