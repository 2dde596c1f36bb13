"""Frozen networks in bf16 beside fp32 on this machine, and HSNet's episode beside its formulas.

Sections are those of classical-baselines.md.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch
from torch import Tensor

from benchmarks.speed.harness import Case, call_difference, forward
from fsbench.backbones.base import BackboneConfig, FrozenBackbone, NetworkPrecision
from fsbench.backbones.pyramid import FrozenPyramid
from fsbench.backbones.pyramid_networks import block_features, build_pyramid_network
from fsbench.backbones.vit import VITS, FrozenViT
from fsbench.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.ops.correlation import hyper_correlation
from fsbench.ops.kept_correlation import EPSILON, resize_mask, unit
from fsbench.ops.plane_norm import GroupNormReLU
from methods.hsnet import HSNet


def precision_cases(
    device: torch.device, networks: str = "dinov2_vits14:448,swin_base:384,resnet50:400"
) -> Iterator[Case]:
    """Compare one image of noise through each network with random weights, as `--backbone-precision` has it computed.

    A processor gains by bf16 where it multiplies in it (AMX, AVX512-BF16); elsewhere it converts, and loses.
    """
    torch.set_num_threads(1)
    precisions: tuple[NetworkPrecision, ...] = ("fp32", "bf16")
    for name, side in (word.split(":") for word in networks.split(",")):
        kind: type[FrozenBackbone] = FrozenViT if name in VITS else FrozenPyramid
        image = torch.randn(3, int(side), int(side), generator=torch.Generator().manual_seed(0)).to(device)
        paths = {
            str(precision): partial(kind(BackboneConfig(name, "random", precision=precision)).encode, image)
            for precision in precisions
        }
        yield Case(f"{name}, one image of {side} pixels", paths, partial(call_difference, *paths.values()))


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


def hsnet_cases(
    device: torch.device, backbone: str = "resnet50_v1", kept: float = 0.25, side: int = 400
) -> Iterator[Case]:
    """Compare what an episode computes, 1-way 1-shot: the network on both images, the correlation, the learner.

    "plain" is the form of §4: BatchNorms of their own, a copy of every block's sum before its last ReLU, one
    correlation for every block, which are then stacked. Weights and images are random; the mask is a square that keeps
    a share of the support. "network" is one image alone.
    """
    torch.manual_seed(0)
    method = HSNet(BackboneConfig(backbone, "random")).to(device).eval()
    ours = method.backbone
    network = build_pyramid_network(ours.spec).to(device).eval().requires_grad_(False)
    network.load_state_dict(ours.state, strict=False)
    query, support = (torch.randn(3, side, side, device=device) for _ in range(2))
    mask, edge = torch.zeros(1, side, side, device=device), round(side * kept**0.5)
    mask[:, (side - edge) // 2 : (side + edge) // 2, (side - edge) // 2 : (side + edge) // 2] = 1

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

    def blocks() -> list[Tensor]:
        return [block for stage in maps(query) for block in stage.unbind(1)]

    shape = f"{backbone}, {side} pixels"
    for what, plain, fast in (
        (f"HSNet, an episode, {shape}, 1-way 1-shot, {kept:.0%} of the support kept", plain_episode, episode),
        (f"HSNet's network, {shape}, one image", lambda: plain_maps(query), blocks),
    ):
        paths = {"plain": forward(plain), "ours": forward(fast)}
        yield Case(what, paths, partial(call_difference, *paths.values()), tolerance=1e-3)


def split_stages(cosines: list[Tensor], blocks: tuple[int, ...]) -> list[Tensor]:
    """Stack the correlations of each stage's blocks to (1, L, h, w, hs, ws)."""
    ends = [sum(blocks[: i + 1]) for i in range(len(blocks))]
    return [torch.stack(cosines[end - count : end], 1) for end, count in zip(ends, blocks, strict=True)]


def block_correlation(query: Tensor, support: Tensor, mask: Tensor) -> Tensor:
    """Return the cosines (1, h, w, hs, ws) of the maps (1, C, ·, ·) of one block, negative ones as 0 (§4.2)."""
    support = support * resize_mask(mask, (support.shape[2], support.shape[3]))[:, None]
    q, s = (x.flatten(2) / (x.flatten(2).norm(dim=1, keepdim=True) + EPSILON) for x in (query, support))
    return torch.bmm(q.mT, s).clamp(min=0).view(1, *query.shape[2:], *support.shape[2:])
