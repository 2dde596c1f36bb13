"""HMNet's hybrid Mamba network: blocks that scan query and support, each by itself or mixed (hmnet.md §6).

Module and parameter names are those of the authors' checkpoints.

Shapes: b samples, C model width, d = 2C inner width, N states, R rank of the step sizes, S feature side, r patches a
side, s = S / r, k = 4 directions, c channels, (h, w) or side a map, L tokens. The suffixes q and s name the streams of
query and support.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.methods.modules.maps import resize
from fsbench.networks.ops.selective_scan import MAX_STATES, selective_scan
from fsbench.networks.ops.selective_scan.interception import intercept
from fsbench.networks.ops.selective_scan.recapped_scan import recapped_scan

DIRECTIONS = 4
"""By rows, by columns, and both reversed."""


@dataclass(frozen=True)
class HybridMambaConfig:
    """Settings of the Mamba network that mixes query and support.

    Args:
        blocks: number of blocks.
        hybrid: whether every second block mixes query and support; False makes all blocks self blocks, which scan each
            image alone.
        srm: support recapped Mamba: the support is scanned before each query patch ("recap"), once before the first
            patch ("basic"), or not at all ("off").
        qim: query intercepted Mamba, in which query tokens read the state after the support: with the scan parameters
            of direction 0 ("share"), with parameters of their own ("basic"), or not at all ("off").
        qim_scalar_skip: whether the skip of this reading takes the first channel's D for all channels, as in the
            authors' code; False takes each channel's own D.
        ratio: number of patches on a side into which the query's map is cut.
        states: N, number of scan states of a channel.
    """

    blocks: int = 8  # §6
    hybrid: bool = True
    srm: Literal["recap", "basic", "off"] = "recap"
    qim: Literal["share", "basic", "off"] = "share"
    qim_scalar_skip: bool = True
    ratio: int = 4  # §6.4
    states: int = 16  # §6.5

    def check(self, side: int) -> None:
        """Raise SettingsError unless a feature grid of side x side can be cut into the patches of these settings."""
        if self.blocks < 1 or self.ratio < 1 or self.states < 1:
            raise SettingsError(
                f"blocks, ratio and states are {self.blocks}, {self.ratio}, {self.states}; expected 1 or more"
            )
        if self.states > MAX_STATES:
            raise SettingsError(f"states is {self.states}, expected at most {MAX_STATES}, as the scan takes")
        if side < 1 or side % self.ratio:
            raise SettingsError(f"feature_side is {side}, expected a multiple of the {self.ratio} patches a side")


# The scan of maps -----------------------------------------------------------------------------------------------------


def scan_order(x: Tensor, ratio: int = 1) -> Tensor:
    """Flatten maps into token sequences in the order in which each direction scans them.

    Direction 0 goes by rows: patch by patch, and by rows inside a patch. Direction 1 goes by columns in both.
    Directions 2 and 3 are 0 and 1 reversed as a whole (§6.4).

    Args:
        x: maps (b, k, c, h, w) of k directions, fastest with channels last in memory.
        ratio: number of patches on a side; 1 scans the whole map by rows and columns.

    Returns:
        Tokens (b, k, c, L), stored in memory as (b, L, k, c).
    """
    rows, columns, rows_back, columns_back = x.permute(1, 0, 3, 4, 2)
    tokens = [_flatten(rows, ratio), _flatten(columns.transpose(1, 2), ratio)]
    tokens += [_flatten(m, ratio).flip(1) for m in (rows_back, columns_back.transpose(1, 2))]
    return torch.stack(tokens, 2).permute(0, 2, 3, 1)


def sum_directions(y: Tensor, side: int, ratio: int = 1) -> Tensor:
    """Put the token sequences of all four scan directions back into maps, and sum the maps.

    Args:
        y: tokens (b, k, c, L) in scan order, fastest if stored in memory as (b, L, k, c).
        side: side of the maps.
        ratio: number of patches on a side in the scan order (`scan_order`).

    Returns:
        Map (b, c, side, side), channels last in memory.
    """
    rows, columns, rows_back, columns_back = y.permute(0, 3, 1, 2).unbind(2)
    by_rows = _unflatten(rows + rows_back.flip(1), side, ratio)
    by_columns = _unflatten(columns + columns_back.flip(1), side, ratio)
    return (by_rows + by_columns.transpose(1, 2)).permute(0, 3, 1, 2)


def _flatten(x: Tensor, ratio: int) -> Tensor:
    return rearrange(x, "b (i y) (j x) c -> b (i j y x) c", i=ratio, j=ratio)


def _unflatten(x: Tensor, side: int, ratio: int) -> Tensor:
    patch = side // ratio
    return rearrange(x, "b (i j y x) c -> b (i y) (j x) c", i=ratio, j=ratio, y=patch, x=patch)


class ScanTokens(NamedTuple):
    """Inputs of a selective scan in k directions, in fp32: u and delta (b, k·d, L), B and C (b, k, N, L).

    delta is the step size before its bias is added.
    """

    u: Tensor
    delta: Tensor
    B: Tensor
    C: Tensor


def _step_size_bias(*shape: int) -> Tensor:
    """Draw step sizes log-uniformly from [0.001, 0.1] and return their inverse softplus (§6.5)."""
    step = torch.exp(torch.rand(shape) * math.log(100) + math.log(1e-3)).clamp(min=1e-4)
    return step + torch.log(-torch.expm1(-step))


class ScanParameters(nn.Module):
    """Parameters of a selective scan in one direction: projections, step-size bias, A and D.

    With the setting `qim: basic`, the reading of the support's state by query tokens has an instance of its own (§7).
    """

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
        width: C, channels of query and support.
        config: settings of the network.
        hybrid: whether query and support are mixed (§6.4); False scans each by itself (§6.3).
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

    def forward(self, q: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the scan adds to query and support (b, S, S, C), each of this shape, by one scan of both."""
        x_q, z_q = self.project_in(q, self.in_proj_q, self.conv2d_q)
        x_s, z_s = self.project_in(s, self.in_proj_s, self.conv2d_s)
        if self.hybrid:
            y_q, y_s = self.mix(x_q, self.shrink(x_s))
            y_s = resize(y_s, x_s.shape[-1])
        else:
            y_q, y_s = self.scan(torch.cat([x_q, x_s])).chunk(2)
        return self._project_out(y_q, z_q, self.out_proj_q), self._project_out(y_s, z_s, self.out_proj_s)

    def read_support(self, s: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scan a support (b, S, S, C) without a query.

        Returns:
            What the scan adds to the support, of its shape, and the map (b, d, s, s) that a hybrid scan of a query
            reads; None if the scan is not hybrid.
        """
        x, z = self.project_in(s, self.in_proj_s, self.conv2d_s)
        small = self.shrink(x) if self.hybrid else None
        y = self.scan(x) if small is None else resize(self.scan(small), x.shape[-1])
        return self._project_out(y, z, self.out_proj_s), small

    def support_map(self, s: Tensor) -> Tensor:
        """Return the map (b, d, s, s) of a support (b, S, S, C) that a hybrid scan of a query reads, and no more."""
        inner = self.conv2d_s.in_channels
        return self.shrink(self._convolve(F.linear(s, self.in_proj_s.weight[:inner]), self.conv2d_s))

    def read_query(self, q: Tensor, small_s: Tensor | None) -> Tensor:
        """Return what the scan adds to the query (b, S, S, C), which reads the support's map (b, d, s, s) if hybrid."""
        x, z = self.project_in(q, self.in_proj_q, self.conv2d_q)
        y = self.scan(x) if small_s is None else self.mix(x, small_s)[0]
        return self._project_out(y, z, self.out_proj_q)

    def shrink(self, x: Tensor) -> Tensor:
        """Resize maps (b, d, S, S) to the size of a patch (b, d, s, s)."""
        return resize(x, x.shape[-1] // self.config.ratio)

    def scan(self, x: Tensor) -> Tensor:
        """Scan every map (b, d, S, S) by itself in four directions, and sum the results (b, d, S, S) (§6.3)."""
        y = selective_scan(**self.scan_arguments(self.tokens(x)))
        assert isinstance(y, Tensor)
        return sum_directions(y.unflatten(1, (DIRECTIONS, -1)), x.shape[-1])

    def mix(self, x_q: Tensor, small_s: Tensor) -> tuple[Tensor, Tensor]:
        """Mix query (b, d, S, S) and support (b, d, s, s) by scans in four directions; return both (§6.4).

        The query is scanned with the support repeated before each of its patches, and what its tokens read from the
        support's state is added. The support is scanned by itself.
        """
        y_q, y_s, state = self.recap(x_q, small_s)
        if self.config.qim != "off":
            read = self.intercept(self.shrink(x_q), state.detach())  # no gradient through the state
            y_q = y_q + resize(read.contiguous(memory_format=torch.channels_last), x_q.shape[-1])
        return y_q, y_s

    def recap(self, x_q: Tensor, small_s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scan the query with the support repeated before each of its patches (support recapped Mamba, §6.4).

        Args:
            x_q: query (b, d, S, S).
            small_s: support (b, d, s, s), of a patch's size.

        Returns:
            Query (b, d, S, S), support (b, d, s, s), and the scan's state after the support, mean over directions
            (b, d, N).
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
        """Let each query token read the state that the scan of the support left behind (query intercepted Mamba).

        Args:
            small_q: query (b, d, s, s), at a patch's size.
            state: state after the support (b, d, N).

        Returns:
            What each token reads, (b, d, s, s).
        """
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
        """Project maps (b, d, h, w) to the inputs of a selective scan in four directions, always in fp32.

        `ratio` is the number of patches on a side in the scan order.
        """
        n = self.config.states
        x = x.contiguous(memory_format=torch.channels_last)
        low = F.linear(x.permute(0, 2, 3, 1), self.x_proj_weight.flatten(0, 1)).permute(0, 3, 1, 2)
        steps, B, C = scan_order(low.unflatten(1, (DIRECTIONS, -1)), ratio).split([self.rank, n, n], 2)
        delta = steps.mT @ self.dt_projs_weight.to(steps.dtype).mT  # (b, k, L, d)
        delta = delta.transpose(1, 2).flatten(2).mT
        u = scan_order(x[:, None].expand(-1, DIRECTIONS, -1, -1, -1), ratio)
        return ScanTokens(u.flatten(1, 2).float(), delta.float(), B.float(), C.float())

    def scan_arguments(self, tokens: ScanTokens) -> dict[str, Any]:
        """Return the keyword arguments of `selective_scan`: the given tokens, and the layer's own scan parameters."""
        return tokens._asdict() | self._scan_weights()

    def _scan_weights(self) -> dict[str, Any]:
        return {
            "A": -self.A_logs.float().exp(),
            "D": self.Ds.float(),
            "delta_bias": self.dt_projs_bias.float().flatten(),
            "delta_softplus": True,
        }

    def project_in(self, x: Tensor, projection: nn.Linear, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
        """Project query or support (b, S, S, C) to the scan's input (b, d, S, S) and the output's gate (b, S, S, d)."""
        x, z = projection(x).chunk(2, -1)
        return self._convolve(x, conv), z

    @staticmethod
    def _convolve(x: Tensor, conv: nn.Conv2d) -> Tensor:
        return F.silu(conv(x.permute(0, 3, 1, 2)))

    def _project_out(self, y: Tensor, z: Tensor, projection: nn.Linear) -> Tensor:
        """Gate a scan's output (b, d, S, S) and project it to (b, S, S, C)."""
        return projection(self.out_norm(y.permute(0, 2, 3, 1)) * F.silu(z))


# The blocks -----------------------------------------------------------------------------------------------------------


class Mlp(nn.Module):
    """Feed-forward network: two linear layers with a GELU between them (§6.1)."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Block of HMNet's Mamba network: a scan and a feed-forward network for query and support, with shared norms."""

    def __init__(self, width: int, config: HybridMambaConfig, hybrid: bool):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.self_attention = SS2D(width, config, hybrid)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp_q = Mlp(width)
        self.mlp_s = Mlp(width)

    def forward(self, q: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return query and support (b, S, S, C) after the block."""
        added_q, added_s = self.self_attention(self.ln_1(q), self.ln_1(s))
        q, s = q + added_q, s + added_s
        return q + self.mlp_q(self.ln_2(q)), s + self.mlp_s(self.ln_2(s))

    def read_support(self, s: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the support (b, S, S, C) after the block, and the map that its scan of a query reads, if hybrid."""
        added, small = self.self_attention.read_support(self.ln_1(s))
        s = s + added
        return s + self.mlp_s(self.ln_2(s)), small

    def support_map(self, s: Tensor) -> Tensor:
        """Return the map of a support (b, S, S, C) that a hybrid scan reads, and no more."""
        return self.self_attention.support_map(self.ln_1(s))

    def read_query(self, q: Tensor, small_s: Tensor | None) -> Tensor:
        """Return the query (b, S, S, C) after the block; `small_s` is the support's map if the block is hybrid."""
        q = q + self.self_attention.read_query(self.ln_1(q), small_s)
        return q + self.mlp_q(self.ln_2(q))

    def freeze_support(self) -> None:
        """Freeze those parameters of the support's branch that no loss depends on.

        Called for the last blocks, whose support output no later block reads. Otherwise training on several processes
        would wait for gradients that never come.
        """
        scan = self.self_attention
        unused: list[nn.Module] = [scan.out_proj_s, self.mlp_s]
        query_reads_support = scan.hybrid and scan.config.srm != "off"
        for module in unused if query_reads_support else [*unused, scan.in_proj_s, scan.conv2d_s]:
            module.requires_grad_(False)


class Stage(nn.Module):
    """Container of the Mamba network's blocks, nested as in the authors' checkpoints (`layers.0.blocks`)."""

    def __init__(self, blocks: list[Block]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)


class HybridMamba(nn.Module):
    """HMNet's Mamba network: self blocks and hybrid blocks, which mix query and support, in turn (§6).

    Args:
        width: C, channels of query and support.
        config: settings.
    """

    def __init__(self, width: int, config: HybridMambaConfig):
        super().__init__()
        blocks = [Block(width, config, hybrid=config.hybrid and i % 2 == 1) for i in range(config.blocks)]
        self.layers = nn.ModuleList([Stage(blocks)])
        self.norm = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.last_hybrid = config.blocks // 2 * 2 - 1 if config.hybrid else -1
        """Number of the last block that mixes, after which the support has no use; -1 if none does."""
        self.learns_from_support = config.hybrid and config.srm != "off" and config.blocks > 1
        """True if the support gets a gradient; the interception's state has none."""
        for block in blocks[self.last_hybrid if self.learns_from_support else 0 :]:
            block.freeze_support()

    @property
    def blocks(self) -> list[Block]:
        stage = self.layers[0]
        assert isinstance(stage, Stage)
        return [block for block in stage.blocks if isinstance(block, Block)]

    def forward(self, query: Tensor, support: Tensor) -> Tensor:
        """Mix query and support (b, C, S, S); return the normalised query (b, C, S, S).

        This is the whole network in one call: `remember`, then `read`.
        """
        return self.read(query, self.remember(support))

    def remember(self, support: Tensor) -> tuple[Tensor, ...]:
        """Return the maps (b, d, s, s) of a support (b, C, S, S) that the hybrid blocks read, one a block, for `read`.

        In training return the support itself, which is scanned together with the query.
        """
        if self.training:
            return (support,)
        s, maps = support.permute(0, 2, 3, 1), []
        for block in self.blocks[: max(self.last_hybrid, 0)]:
            s, small = block.read_support(s)
            maps += [] if small is None else [small]
        if self.last_hybrid > 0:
            maps.append(self.blocks[self.last_hybrid].support_map(s))
        return tuple(maps)

    def read(self, query: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        """Mix a query (b, C, S, S) with what `remember` returned; return the normalised query (b, C, S, S)."""
        q, blocks = query.permute(0, 2, 3, 1), self.blocks
        if self.training:
            mixing = max(self.last_hybrid, 0)
            (support,), blocks = memory, blocks[mixing:]
            s = support.permute(0, 2, 3, 1)
            for block in self.blocks[:mixing]:
                q, s = block(q, s)
            memory = (blocks[0].support_map(s),) if mixing else ()
        maps = iter(memory)
        for block in blocks:
            q = block.read_query(q, next(maps) if block.self_attention.hybrid else None)
        return self.norm(q).permute(0, 3, 1, 2)
