"""HMNet's scans: long scan against affine shortcut, interception with and without a state axis, mixing block, network.

"plain" is what the authors' PyTorch code does: the sequence [S, Q0, S, Q1, ...] is written down, the decays and inflows
of all its tokens are made at once (b, D, L, N), and a loop runs over them; the interception has its state axis. "long"
scans the same sequence with our back end.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.harness import Case, call_difference, forward, training_step
from fsbench.ops.selective_scan import recapped_scan as recapped
from fsbench.ops.selective_scan._backends import Backend
from fsbench.ops.selective_scan.interception import intercept
from fsbench.ops.selective_scan.recapped_scan import long_scan, recapped_scan
from methods.hmnet.mamba import ss2d
from methods.hmnet.mamba.config import HybridMambaConfig
from methods.hmnet.mamba.network import HybridMamba
from methods.hmnet.mamba.ss2d import SS2D

Call = Callable[[], object]
PATCHES = 16


def materialised_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = True,
    return_last_state: bool = False,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Scan with (b, D, L, N) tensors and a loop over tokens, as the authors' code does.

    The tokens are taken apart at once: the authors' indexing makes the backward pass quadratic in L.
    """
    assert delta_bias is not None and delta_softplus
    step = F.softplus(delta + delta_bias[:, None])
    B, C = (t.repeat_interleave(len(A) // t.shape[1], 1) for t in (B, C))  # (b, D, N, L)
    decay = torch.exp(step[..., None] * A[:, None])
    inflow = torch.einsum("bdl,bdnl,bdl->bdln", step, B, u)
    state, outputs = torch.zeros_like(decay[:, :, 0]), []
    for kept, added, read in zip(decay.unbind(2), inflow.unbind(2), C.unbind(3), strict=True):  # tokens
        state = kept * state + added
        outputs.append(torch.einsum("bdn,bdn->bd", state, read))
    y = torch.stack(outputs, 2) + D[:, None] * u
    return (y, state) if return_last_state else y


def scan_inputs(device: torch.device, side: int, width: int, batch: int = 1) -> list[Tensor]:
    """Draw the arguments of the recapped scan with the statistics of HMNet's initial values."""
    generator = torch.Generator().manual_seed(0)
    tokens, inner, states = side**2 // PATCHES, 8 * width, 16

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    tensors = []
    for lead in ((tokens,), (PATCHES, tokens)):
        tensors += [random(batch, inner, *lead), 0.5 * random(batch, inner, *lead)]
        tensors += [random(batch, 4, states, *lead) for _ in range(2)]
    decays = -torch.arange(1.0, states + 1).repeat(inner, 1)
    return [*tensors, *(t.to(device) for t in (decays, torch.ones(inner), torch.full((inner,), -4.0)))]


def cases(
    device: torch.device,
    what: str = "scan,interception,block,network",
    side: int = 64,
    batch: int = 1,
    width: int = 256,
    blocks: int = 8,
) -> Iterator[Case]:
    """Compare forward passes and training steps of the parts that are asked for.

    Sides of the features are 64 or 80 in the paper; the plain path needs some 5 GB a sample.
    """
    os.environ["FSBENCH_SCAN"] = "triton" if device.type == "cuda" else "torch"
    shape = f"{side}² features of {width}, batch {batch}, fp32"
    for part in what.split(","):
        paths, leaves = {
            "scan": lambda: _scan(device, side, batch, width),
            "interception": lambda: _interception(device, side, batch, width),
            "block": lambda: _block(device, side, batch, width),
            "network": lambda: _network(device, side, batch, width, blocks),
        }[part]()
        name = {"block": "mix block", "network": f"network, {blocks} blocks"}.get(part, part)
        *_, first, second = paths.values()  # the plain path is slow
        yield Case(
            f"HMNet's {name}, forward, {shape}",
            {key: forward(call) for key, call in paths.items()},
            partial(call_difference, forward(first), forward(second)),
            tolerance=1e-3,
        )
        steps = {key: training_step(call, leaves) for key, call in paths.items()}
        yield Case(f"HMNet's {name}, training step, {shape}", steps)


Paths = tuple[Mapping[str, Call], Sequence[Tensor]]
"""Calls by path, and what their gradients are of."""


def _scan(device: torch.device, side: int, batch: int, width: int) -> Paths:
    x = scan_inputs(device, side, width, batch)
    fast: Backend = "triton" if device.type == "cuda" else "torch"
    scan: Callable[..., Sequence[Tensor]] = long_scan
    shortcut: Callable[..., Sequence[Tensor]] = recapped_scan

    def plain() -> object:
        with patch.object(recapped, "selective_scan", materialised_scan):
            return scan(*x, True)[:2]

    paths: dict[str, Call] = {
        "plain": plain,
        "long": lambda: scan(*x, True, backend=fast)[:2],
        "shortcut": lambda: shortcut(*x, True, backend=fast)[:2],
    }
    return paths, x


def _interception(device: torch.device, side: int, batch: int, width: int) -> Paths:
    generator = torch.Generator().manual_seed(0)
    inner, tokens = 2 * width, side**2 // PATCHES
    shapes = [(batch, inner, tokens)] * 2 + [(inner, 16)] + [(batch, 16, tokens)] * 2
    x = [torch.randn(shape, generator=generator) for shape in [*shapes, (), (batch, inner, 16)]]
    x[1], x[2] = 0.05 * x[1].abs(), -x[2].exp()
    x = [t.to(device) for t in x]
    interception: Callable[..., Tensor] = intercept
    return {"plain": lambda: interception(*x, backend="reference"), "fused": lambda: interception(*x)}, x


def _block(device: torch.device, side: int, batch: int, width: int) -> Paths:
    """Return the calls of the hybrid core of one block, between its projections, whose outputs lie channels last."""
    torch.manual_seed(0)
    net = SS2D(width, HybridMambaConfig(), hybrid=True).to(device)
    q, s = (torch.randn(batch, side, side, 2 * width, device=device).permute(0, 3, 1, 2) for _ in range(2))
    return _as_authors(lambda: net.mix(q, s)[:2]), [q, s, *net.parameters()]


def _network(device: torch.device, side: int, batch: int, width: int, blocks: int) -> Paths:
    torch.manual_seed(0)
    net = HybridMamba(width, HybridMambaConfig(blocks=blocks)).to(device)
    q, s = (torch.randn(batch, width, side, side, device=device) for _ in range(2))
    return _as_authors(lambda: net(q, s)), list(net.parameters())


def _as_authors(call: Call) -> dict[str, Call]:
    """Return `call` as the authors' code does it, with our long scan, and as it is."""

    def plain() -> object:
        scans = [patch.object(module, "selective_scan", materialised_scan) for module in (ss2d, recapped)]
        with scans[0], scans[1]:
            return long()

    def long() -> object:
        by_definition = partial(intercept, backend="reference")
        with patch.object(ss2d, "recapped_scan", long_scan), patch.object(ss2d, "intercept", by_definition):
            return call()

    return {"plain": plain, "long": long, "ours": call}
