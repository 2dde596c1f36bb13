"""Compare HSNet after its formulas (all correlations, 4-D convolutions of batches of planes) with its fast path.

    python -m benchmarks.speed.hsnet [--device cuda] [--backbone resnet50_v1] [--kept 0.05,0.25,1] [--repeats 1]

Time and peak memory of the correlation, of the head (correlation and learner) and of its training step (forward,
backward), one episode, 1-way 1-shot, on random features of the shapes that an image of 400 pixels gives; the mask is a
square that keeps the given share of the support. Both paths give the same numbers up to rounding: logits and gradients
are compared before they are timed. Times on a CPU are processor seconds. `benchmarks.speed.hsnet_process` measures
whole evaluations.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor

from benchmarks.speed.measure import Cost, Recorder, add_json_option, measure
from fsbench.backbones.pyramid_networks import PYRAMIDS
from fsbench.engine.machine.meter import release_memory
from fsbench.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.ops.correlation import hyper_correlation
from fsbench.ops.kept_correlation import KeptCorrelation, keep_correlation, unit
from fsbench.ops.plane_norm import GroupNormReLU
from methods.hsnet import HyperpixelLearner

SCALES = (8, 16, 32)


def features(net: str, side: int, seed: int, device: torch.device) -> list[Tensor]:
    """Draw the random features (1, L, C, h, w) of an image at each scale."""
    generator = torch.Generator().manual_seed(seed)
    spec = PYRAMIDS[net]
    return [
        torch.randn(1, depth, width, -(-side // scale), -(-side // scale), generator=generator).to(device)
        for depth, width, scale in zip(spec.blocks[1:], spec.channels[1:], SCALES, strict=True)
    ]


@contextmanager
def plain_formulas() -> Iterator[None]:
    """Let HSNet calculate by its formulas within the block: all correlations, batches of planes, torch's GroupNorm."""
    with (
        mock.patch.object(CenterPivotConv4d, "forward", CenterPivotConv4d.reference),
        mock.patch.object(GroupNormReLU, "forward", GroupNormReLU.reference),
        mock.patch("methods.hsnet.keep_correlation", hyper_correlation),
        mock.patch("methods.hsnet.unit", lambda x: x),  # of the query, which `hyper_correlation` divides
    ):
        yield


def build_calls(net: str, kept: float, options: argparse.Namespace) -> dict[str, tuple[Callable[[], Tensor], ...]]:
    """Return the calls to time, plain and fast, by name."""
    torch.manual_seed(0)
    learner = HyperpixelLearner(PYRAMIDS[net].blocks[1:]).to(options.device)
    query, support = (features(net, options.side, seed, options.device) for seed in (1, 2))
    mask = torch.zeros(1, options.side, options.side, device=options.device)
    edge = round(options.side * kept**0.5)
    start = (options.side - edge) // 2
    mask[:, start : start + edge, start : start + edge] = 1

    def plain_correlations() -> list[Tensor]:
        return [hyper_correlation(q, s, mask) for q, s in zip(query, support, strict=True)]

    def kept_correlations() -> list[KeptCorrelation]:
        return [keep_correlation(unit(q), s, mask) for q, s in zip(query, support, strict=True)]

    @torch.inference_mode()
    def plain_sums() -> Tensor:
        return torch.stack([c.sum() for c in plain_correlations()])

    @torch.inference_mode()
    def kept_sums() -> Tensor:
        return torch.stack([c.cosines(0).sum() for c in kept_correlations()])

    def plain_head() -> Tensor:
        with plain_formulas():
            return learner(plain_correlations()[::-1])

    def fast_head() -> Tensor:
        return learner(kept_correlations()[::-1])

    def step(head: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            learner.zero_grad()
            head().square().mean().backward()
            return torch.cat([p.grad.flatten() for p in learner.parameters() if p.grad is not None])

        return run

    return {
        "correlation": (plain_sums, kept_sums),
        "head": (torch.inference_mode()(plain_head), torch.inference_mode()(fast_head)),
        "training step": (step(plain_head), step(fast_head)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    parser.add_argument("--backbone", default="resnet50_v1")
    parser.add_argument("--kept", default="0.05,0.25,1", help="shares of the support's pixels that the mask keeps")
    parser.add_argument("--side", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=1)
    add_json_option(parser)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    recorder = Recorder(
        options.device, is_processor=options.device.type == "cpu", settings=f"{options.side} pixels, one episode, fp32"
    )
    print(
        f"{'backbone':12} {'kept':>5} {'what':14} {'plain':>22} {'fast':>22} {'speed':>6} {'memory':>7} {'differ':>8}"
    )
    for net in options.backbone.split(","):
        for kept in map(float, options.kept.split(",")):
            for what, paths in build_calls(net, kept, options).items():
                plain, fast = (call() for call in paths)
                difference = float((plain - fast).abs().max() / plain.abs().max())
                costs = []
                for path in paths:
                    release_memory()
                    costs.append(measure(path, options.device, options.repeats, recorder.is_processor))
                    label = f"HSNet's {what}, {net}, {options.side} pixels, {kept:.0%} of the support kept"
                    recorder.add(label, ("plain", "ours")[len(costs) - 1], costs[-1])
                print(_line(net, kept, what, costs[0], costs[1], difference), flush=True)
    recorder.write(options.json)


def _line(net: str, kept: float, what: str, plain: Cost, fast: Cost, difference: float) -> str:
    """Return one line of the table."""
    cells = [f"{cost.seconds:8.3f} s {cost.peak_mib:7.0f} MiB" for cost in (plain, fast)]
    return (
        f"{net:12} {kept:5.0%} {what:14} {cells[0]:>22} {cells[1]:>22} {plain.seconds / fast.seconds:5.1f}x "
        f"{fast.peak_mib / max(plain.peak_mib, 1e-9):7.2f} {difference:8.1e}"
    )


if __name__ == "__main__":
    main()
