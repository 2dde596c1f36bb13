"""Measure HMNet's scans: long scan against affine shortcut, interception with and without a state axis, mixing block,
whole network.

python -m benchmarks.speed.hmnet [--device cuda] [--side 64] [--batch 1] [--width 256] [--what scan,qim,block,network]

"plain" is what the authors' PyTorch code does: the sequence [S, Q0, S, Q1, ...] is written down, the decays and inflows
of all its tokens are made at once (b, D, L, N), and a loop runs over them; the interception has its state axis. "long"
scans the same sequence with our back end. Speed-ups and shares of memory are against the first column.
"""

import argparse
import os
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.measure import OWN_REFERENCE, Cost, Recorder, add_json_option, measure
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


def scan_inputs(options: argparse.Namespace) -> list[Tensor]:
    """Draw the arguments of the recapped scan with the statistics of HMNet's initial values."""
    generator = torch.Generator().manual_seed(0)
    tokens, inner, states = options.side**2 // PATCHES, 8 * options.width, 16

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(options.device)

    tensors = []
    for lead in ((tokens,), (PATCHES, tokens)):
        tensors += [random(options.batch, inner, *lead), 0.5 * random(options.batch, inner, *lead)]
        tensors += [random(options.batch, 4, states, *lead) for _ in range(2)]
    decays = -torch.arange(1.0, states + 1).repeat(inner, 1)
    return [*tensors, *(t.to(options.device) for t in (decays, torch.ones(inner), torch.full((inner,), -4.0)))]


def scan(options: argparse.Namespace) -> dict[str, dict[str, Call]]:
    """Return the calls of the scan alone."""
    x = scan_inputs(options)
    fast: Backend = "triton" if options.device.type == "cuda" else "torch"

    def plain() -> object:
        with patch.object(recapped, "selective_scan", materialised_scan):
            return long_scan(*x, True)

    def shortcut() -> tuple[Tensor, Tensor, Tensor]:
        return recapped_scan(*x, True, backend=fast)

    def long() -> tuple[Tensor, Tensor, Tensor]:
        return long_scan(*x, True, backend=fast)

    torch.testing.assert_close(shortcut(), long(), atol=1e-4, rtol=1e-4)
    return _both(
        "scan", {"plain": plain, "long": long, "shortcut": shortcut}, x, lambda out: out[0].sum() + out[1].sum()
    )


def qim(options: argparse.Namespace) -> dict[str, dict[str, Call]]:
    """Return the calls of the interception alone."""
    generator = torch.Generator().manual_seed(0)
    inner, tokens = 2 * options.width, options.side**2 // PATCHES
    shapes = [(options.batch, inner, tokens)] * 2 + [(inner, 16)] + [(options.batch, 16, tokens)] * 2
    x = [torch.randn(shape, generator=generator) for shape in [*shapes, (), (options.batch, inner, 16)]]
    x[1], x[2] = 0.05 * x[1].abs(), -x[2].exp()
    x = [t.to(options.device) for t in x]
    paths = {"plain": lambda: intercept(*x, backend="reference"), "fused": lambda: intercept(*x)}
    torch.testing.assert_close(paths["fused"](), paths["plain"](), atol=1e-4, rtol=1e-4)
    return _both("interception", paths, x, lambda out: out.sum())


def block(options: argparse.Namespace) -> dict[str, dict[str, Call]]:
    """Return the calls of the hybrid core of one block, between its projections."""
    torch.manual_seed(0)
    net = SS2D(options.width, HybridMambaConfig(), hybrid=True).to(options.device)
    shape = (options.batch, 2 * options.width, options.side, options.side)
    q, s = (torch.randn(shape, device=options.device, requires_grad=True) for _ in range(2))
    return _as_authors("mix block", options, lambda: net.mix(q, s), lambda out: out[0].sum() + out[1].sum())


def network(options: argparse.Namespace) -> dict[str, dict[str, Call]]:
    """Return the calls of the whole network."""
    torch.manual_seed(0)
    net = HybridMamba(options.width, HybridMambaConfig(blocks=options.blocks)).to(options.device)
    shape = (options.batch, options.width, options.side, options.side)
    q, s = (torch.randn(shape, device=options.device) for _ in range(2))
    what = f"network, {options.blocks} blocks"
    return _as_authors(what, options, lambda: net(q, s), lambda out: out.sum())


def _as_authors(
    what: str, options: argparse.Namespace, call: Call, loss: Callable[..., Tensor]
) -> dict[str, dict[str, Call]]:
    """Return `call` as the authors' code does it, with our long scan, and as it is."""
    os.environ["FSBENCH_SCAN"] = "triton" if options.device.type == "cuda" else "torch"

    def plain() -> object:
        as_authors = {"attribute": "selective_scan", "new": materialised_scan}
        with patch.object(ss2d, **as_authors), patch.object(recapped, **as_authors):
            return long()

    def long() -> object:
        by_definition = partial(intercept, backend="reference")
        with patch.object(ss2d, "recapped_scan", long_scan), patch.object(ss2d, "intercept", by_definition):
            return call()

    return _both(what, {"plain": plain, "long": long, "ours": call}, [], loss)


def _both(
    what: str, paths: dict[str, Call], leaves: list[Tensor], loss: Callable[..., Tensor]
) -> dict[str, dict[str, Call]]:
    """Return forward pass and training step of every path."""

    def forward(path: Call) -> Call:
        def run() -> None:
            with torch.no_grad():
                path()

        return run

    def step(path: Call) -> Call:
        def run() -> None:
            for leaf in leaves:
                leaf.requires_grad_(leaf.is_floating_point())
            loss(path()).backward()

        return run

    kinds = {"forward": forward, "training step": step}
    return {f"{what}, {kind}": {name: make(path) for name, path in paths.items()} for kind, make in kinds.items()}


PARTS = {"scan": scan, "qim": qim, "block": block, "network": network}
"""Parts that can be measured, by the name of `--what`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    parser.add_argument("--side", type=int, default=64, help="of the features: 64 or 80 in the paper")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--blocks", type=int, default=8, help="of the whole network")
    parser.add_argument("--repeats", type=int, default=3, help="0: a single call for time and memory")
    parser.add_argument("--processor", action="store_true", help="processor seconds, for a machine with other work")
    parser.add_argument("--what", default=",".join(PARTS), help="parts to measure")
    parser.add_argument("--skip", default="", help="column to leave out: plain needs some 5 GB a sample")
    parser.add_argument("--forward", action="store_true", help="without training steps")
    add_json_option(parser)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    settings = f"{options.side}² features of {options.width}, batch {options.batch}, fp32"
    opponent = f"a loop over tokens (plain): {OWN_REFERENCE}; and with our long scan (long)"
    recorder = Recorder(options.device, opponent, options.processor, settings)
    for part in options.what.split(","):
        for what, calls in PARTS[part](options).items():
            if options.forward and "training" in what:
                continue
            wanted = {k: call for k, call in calls.items() if k != options.skip}
            costs = {k: measure(call, options.device, options.repeats, options.processor) for k, call in wanted.items()}
            for name, cost in costs.items():
                recorder.add(f"HMNet's {what}, {settings}", name, cost)
            first = next(iter(costs.values()))
            print(f"{what:28} " + "  ".join(_cell(name, cost, first) for name, cost in costs.items()), flush=True)
    recorder.write(options.json)


def _cell(name: str, cost: Cost, first: Cost) -> str:
    """Return one cell of the table."""
    memory = f"{cost.peak_mib:6.0f} MiB ({cost.peak_mib / max(first.peak_mib, 1):4.2f})"
    return f"[{name}: {cost.seconds:7.3f} s {first.seconds / cost.seconds:5.1f}x {memory}]"


if __name__ == "__main__":
    main()
