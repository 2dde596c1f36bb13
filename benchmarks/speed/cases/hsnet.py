"""HSNet after its formulas (all correlations, 4-D convolutions of batches of planes) and on its fast path.

Sections are those of classical-baselines.md.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch
from torch import Tensor

from benchmarks.speed.harness import Case, call_difference, forward, training_step
from fsbench.backbones.base import BackboneConfig
from fsbench.backbones.pyramid_networks import PYRAMIDS, block_features, build_pyramid_network
from fsbench.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.ops.correlation import hyper_correlation
from fsbench.ops.kept_correlation import EPSILON, keep_correlation, resize_mask, unit
from fsbench.ops.plane_norm import GroupNormReLU
from methods.hsnet import HSNet, HyperpixelLearner

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
                    partial(call_difference, plain, ours),
                    tolerance=1e-3,
                )


def _calls(net: str, kept: float, side: int, device: torch.device) -> dict[str, tuple[Callable[[], object], ...]]:
    """Return the plain and the fast call by name."""
    torch.manual_seed(0)
    learner = HyperpixelLearner(PYRAMIDS[net].blocks[1:]).to(device)
    query, support = (features(net, side, seed, device) for seed in (1, 2))
    mask = square_mask(kept, side, device)

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


def square_mask(kept: float, side: int, device: torch.device) -> Tensor:
    """Return a support mask (1, S, S) with a square in the middle that is the given share of it."""
    mask = torch.zeros(1, side, side, device=device)
    edge = round(side * kept**0.5)
    start = (side - edge) // 2
    mask[:, start : start + edge, start : start + edge] = 1
    return mask


def episode_cases(
    device: torch.device, backbone: str = "resnet50_v1", kept: float = 0.25, side: int = 400
) -> Iterator[Case]:
    """Compare what an episode computes, 1-way 1-shot: the network on both images, the correlation, the learner.

    "plain" is the form of §4: BatchNorms of their own, a copy of every block's sum before its last ReLU, one
    correlation for every block, which are then stacked. Weights and images are random. "network" is one image alone.
    """
    torch.manual_seed(0)
    method = HSNet(BackboneConfig(backbone, "random")).to(device).eval()
    ours = method.backbone
    network = build_pyramid_network(ours.spec).to(device).eval().requires_grad_(False)
    network.load_state_dict(ours.state, strict=False)
    query, support = (torch.randn(3, side, side, device=device) for _ in range(2))
    mask = square_mask(kept, side, device)

    def plain_maps(image: Tensor) -> list[Tensor]:
        return block_features(network, image[None])[ours.spec.blocks[0] :]

    def plain_episode() -> Tensor:
        cosines = [block_correlation(q, s, mask) for q, s in zip(plain_maps(query), plain_maps(support), strict=True)]
        with plain_formulas():
            logits: Tensor = method.hpn_learner(split_stages(cosines, ours.spec.blocks[1:])[::-1])
        return logits

    def maps(image: Tensor) -> list[Tensor]:
        return [scale[None] for scale in ours.encode(image)]

    def episode() -> Tensor:
        return method.segment([unit(scale) for scale in maps(query)], maps(support), mask)

    shape = f"{backbone}, {side} pixels"
    calls: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        f"HSNet, an episode, {shape}, 1-way 1-shot, {kept:.0%} of the support kept": (plain_episode, episode),
        f"HSNet's network, {shape}, one image": (lambda: plain_maps(query), lambda: flat_maps(maps(query))),
    }
    for what, (plain, fast) in calls.items():
        paths = {"plain": forward(plain), "ours": forward(fast)}
        yield Case(what, paths, partial(call_difference, *paths.values()), tolerance=1e-3)


def flat_maps(stages: list[Tensor]) -> list[Tensor]:
    """Return the maps (1, C, h, w) of all blocks of stages (1, L, C, h, w)."""
    return [block for stage in stages for block in stage.unbind(1)]


def split_stages(cosines: list[Tensor], blocks: tuple[int, ...]) -> list[Tensor]:
    """Stack the correlations of each stage's blocks to (1, L, h, w, hs, ws)."""
    ends = [sum(blocks[: i + 1]) for i in range(len(blocks))]
    return [torch.stack(cosines[end - count : end], 1) for end, count in zip(ends, blocks, strict=True)]


def block_correlation(query: Tensor, support: Tensor, mask: Tensor) -> Tensor:
    """Return the cosines (1, h, w, hs, ws) of the maps (1, C, ·, ·) of one block, negative ones as 0 (§4.2)."""
    support = support * resize_mask(mask, (support.shape[2], support.shape[3]))[:, None]
    q, s = (x.flatten(2) / (x.flatten(2).norm(dim=1, keepdim=True) + EPSILON) for x in (query, support))
    return torch.bmm(q.mT, s).clamp(min=0).view(1, *query.shape[2:], *support.shape[2:])
