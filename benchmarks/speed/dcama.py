"""Compare DCAMA's head on its plain path (all attention weights in memory, mixer on the enlarged map) and its fast one.

    python -m benchmarks.speed.dcama [--device cuda] [--backbone swin_base,resnet50] [--shots 1,5] [--repeats 1]

Time and peak memory, forward and training step (forward, backward; dropout on), batch 1, of the attention of all blocks
alone and of the whole head, on random features of the shapes that an image of 384 pixels gives. Both paths give the
same numbers: outputs and gradients are compared before they are timed. To compare, both drop the same weights; when it
is timed, the plain path drops them with torch's dropout, as plain code does. Times on a CPU are processor seconds.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

import fsbench.ops.mask_value_attention as op
from benchmarks.speed.measure import OWN_REFERENCE, Cost, Recorder, add_json_option, measure
from fsbench.backbones.pyramid_networks import PYRAMIDS
from fsbench.engine.machine.meter import release_memory
from methods.dcama.head import SCALES, DCAMAHead

PLAIN = f"all attention weights at once, torch's dropout: {OWN_REFERENCE}"
"""Opponent."""


def features(net: str, side: int, lead: tuple[int, ...], seed: int, device: torch.device) -> list[Tensor]:
    """Draw a random pyramid (*lead, L, C, h, w) of the network's shapes, the finest scale of its last block alone."""
    generator = torch.Generator().manual_seed(seed)
    spec = PYRAMIDS[net]
    depths = (1, *spec.blocks[1:])
    return [
        torch.randn(*lead, depth, width, side // scale, side // scale, generator=generator).to(device)
        for depth, width, scale in zip(depths, spec.channels, SCALES, strict=True)
    ]


def build_calls(net: str, shots: int, options: argparse.Namespace) -> dict[str, Callable[[], Tensor]]:
    """Return the calls to time, by name; the environment chooses their path."""
    torch.manual_seed(0)
    spec, device = PYRAMIDS[net], options.device
    head = DCAMAHead(spec.channels, (1, *spec.blocks[1:])).to(device)
    query = features(net, options.side, (1,), 1, device)
    support = features(net, options.side, (1, shots), 2, device)
    masks = torch.zeros(1, shots, options.side, options.side, device=device)
    masks[..., options.side // 4 : options.side // 2, options.side // 4 : -options.side // 4] = 1

    def attention() -> Tensor:
        return torch.cat([m.flatten() for m in head.coarse_masks(query, support, masks).values()])

    def whole() -> Tensor:
        return head(query, support, masks)

    def forward(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            head.eval()
            with torch.inference_mode():
                return call()

        return run

    def step(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            head.train()
            torch.manual_seed(3)  # the same dropout in both paths
            head.zero_grad()
            call().square().mean().backward()
            return torch.cat([p.grad.flatten() for p in head.parameters() if p.grad is not None])

        return run

    calls = {"attention, forward": forward(attention), "head, forward": forward(whole)}
    if shots == 1:  # training is 1-shot
        calls |= {"attention, training step": step(attention), "head, training step": step(whole)}
    return calls


def on_path(path: str, call: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Return `call` on the given path of the attention."""

    def run() -> Tensor:
        os.environ["FSBENCH_MASK_ATTENTION"] = path
        return call()

    return run


def with_torch_dropout(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Return `call` with torch's dropout in place of the one that all paths share."""

    def drawn(weights: Tensor, dropout: float, *place: Any) -> Tensor:
        return F.dropout(torch.ones_like(weights), dropout)

    def run() -> Tensor:
        with mock.patch.object(op, "_dropout_factors", drawn):
            return call()

    return run


def largest_difference(first: Tensor, second: Tensor) -> float:
    """Return the largest difference, relative to the largest number."""
    return float((first - second).abs().max() / first.abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    parser.add_argument("--backbone", default="swin_base,resnet50")
    parser.add_argument("--shots", default="1,5")
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=1)
    add_json_option(parser)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    fast = "fused" if options.device.type == "cuda" else "chunked"
    settings = f"{options.side} pixels, batch 1, fp32; fast path: {fast}"
    recorder = Recorder(options.device, PLAIN, options.device.type == "cpu", settings)
    print(
        f"{'backbone':10} {'shots':>5} {'what':24} {'plain':>22} {'fast':>22} {'speed':>6} {'memory':>7} {'differ':>8}"
    )
    for net in options.backbone.split(","):
        for shots in map(int, options.shots.split(",")):
            for what, call in build_calls(net, shots, options).items():
                plain, quick = on_path("reference", call), on_path(fast, call)
                # dropped weights differ between fused kernels and ours, so steps are compared on the CPU alone
                comparable = options.device.type == "cpu" or "step" not in what
                difference = largest_difference(plain(), quick()) if comparable else float("nan")
                costs = []
                for path in (with_torch_dropout(plain), quick):
                    release_memory()
                    costs.append(measure(path, options.device, options.repeats, recorder.is_processor))
                    label = f"DCAMA's {what}, {net}, {options.side} pixels, {shots}-shot"
                    recorder.add(label, ("plain", fast)[len(costs) - 1], costs[-1])
                print(_line(net, shots, what, costs[0], costs[1], difference), flush=True)
    recorder.write(options.json)


def _line(net: str, shots: int, what: str, plain: Cost, fast: Cost, difference: float) -> str:
    """Return one line of the table."""
    cells = [f"{cost.seconds:8.3f} s {cost.peak_mib:7.0f} MiB" for cost in (plain, fast)]
    return (
        f"{net:10} {shots:5} {what:24} {cells[0]:>22} {cells[1]:>22} {plain.seconds / fast.seconds:5.1f}x "
        f"{fast.peak_mib / max(plain.peak_mib, 1e-9):7.2f} {difference:8.1e}"
    )


if __name__ == "__main__":
    main()
