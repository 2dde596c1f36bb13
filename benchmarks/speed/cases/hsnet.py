"""HSNet after its formulas (all correlations, 4-D convolutions of batches of planes) and on its fast path."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor

from benchmarks.speed.harness import Case, forward, relative_difference, training_step
from fsbench.backbones.pyramid_networks import PYRAMIDS
from fsbench.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.ops.correlation import hyper_correlation
from fsbench.ops.kept_correlation import keep_correlation, unit
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


def cases(
    device: torch.device,
    backbone: str = "resnet50_v1",
    kept: tuple[float, ...] = (0.25,),
    side: int = 400,
) -> Iterator[Case]:
    """Compare the correlation, the head (correlation and learner) and its training step, one episode, 1-way 1-shot.

    Features are random, of the shapes that an image gives; the mask is a square that keeps the given share of the
    support's pixels. `hsnet-process` measures whole evaluations.
    """
    for net in backbone.split(","):
        for share in kept:
            for what, (plain, ours) in _calls(net, share, side, device).items():
                label = f"HSNet's {what}, {net}, {side} pixels, {share:.0%} of the support kept"
                yield Case(
                    label,
                    {"plain": plain, "ours": ours},
                    lambda plain=plain, ours=ours: relative_difference(plain(), ours()),
                    tolerance=1e-3,
                )


def _calls(net: str, kept: float, side: int, device: torch.device) -> dict[str, tuple[Callable[[], object], ...]]:
    """Return the plain and the fast call by name."""
    torch.manual_seed(0)
    learner = HyperpixelLearner(PYRAMIDS[net].blocks[1:]).to(device)
    query, support = (features(net, side, seed, device) for seed in (1, 2))
    mask = torch.zeros(1, side, side, device=device)
    edge = round(side * kept**0.5)
    start = (side - edge) // 2
    mask[:, start : start + edge, start : start + edge] = 1

    def correlations() -> list[Tensor]:
        return [hyper_correlation(q, s, mask) for q, s in zip(query, support, strict=True)]

    def kept_correlations() -> list:
        return [keep_correlation(unit(q), s, mask) for q, s in zip(query, support, strict=True)]

    def plain_head() -> Tensor:
        with plain_formulas():
            return learner(correlations()[::-1])

    def head() -> Tensor:
        return learner(kept_correlations()[::-1])

    return {
        "correlation": (
            forward(lambda: [c.sum() for c in correlations()]),
            forward(lambda: [c.cosines(0).sum() for c in kept_correlations()]),
        ),
        "head": (forward(plain_head), forward(head)),
        "training step": tuple(training_step(call, learner.parameters()) for call in (plain_head, head)),
    }
