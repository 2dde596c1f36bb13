"""Frozen networks in bf16 beside fp32 on this machine, and HSNet's episode beside its formulas.

Sections are those of classical-baselines.md.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch
from torch import Tensor

from benchmarks.speed.harness import Case, call_difference, forward
from fsbench.methods.hsnet import HSNet
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone, NetworkPrecision
from fsbench.networks.backbones.timm_networks import (
    VITS,
    FrozenPyramid,
    FrozenViT,
    block_features,
    build_pyramid_network,
)
from fsbench.networks.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.networks.ops.kept_correlation import EPSILON, resize_mask
from fsbench.networks.ops.plane_norm import GroupNormReLU


def precision_cases(
    device: torch.device, networks: str = "dinov2_vits14:448,swin_base:384,resnet50:400"
) -> Iterator[Case]:
    """Compare one image of noise through each network with random weights, as `--backbone-precision` has it computed.

    A processor gains by bf16 where it multiplies in it (AMX, AVX512-BF16); elsewhere it converts, and loses.
    """
    torch.set_num_threads(1)
    for name, side in (word.split(":") for word in networks.split(",")):
        image = torch.randn(3, int(side), int(side), generator=torch.Generator().manual_seed(0)).to(device)
        paths = {"fp32": partial(_encoder(name, "fp32"), image), "bf16": partial(_encoder(name, "bf16"), image)}
        yield Case(f"{name} in bf16, one image of {side} pixels", paths, partial(call_difference, *paths.values()))


def _encoder(name: str, precision: NetworkPrecision) -> Callable[[Tensor], object]:
    kind: type[FrozenBackbone] = FrozenViT if name in VITS else FrozenPyramid
    return kind(BackboneConfig(name, "random", precision=precision)).encode


@contextmanager
def plain_formulas() -> Iterator[None]:
    """Let HSNet's learner calculate by its formulas within the block: batches of planes, torch's GroupNorm."""
    with (
        mock.patch.object(CenterPivotConv4d, "forward", CenterPivotConv4d.reference),
        mock.patch.object(GroupNormReLU, "forward", GroupNormReLU.reference),
    ):
        yield


class HSNetEpisode:
    """HSNet's arithmetic of a 1-way 1-shot episode, in the plain form and in the suite's.

    The plain form is that of §4: BatchNorms of their own, a copy of every block's sum before its last ReLU, one
    correlation for every block, which are then stacked. Weights and images are random.

    Args:
        device: where it computes.
        backbone: name of the network.
        kept: share of the support that its mask, a square, keeps.
        side: of the images, in pixels.
    """

    def __init__(self, device: torch.device, backbone: str, kept: float, side: int) -> None:
        torch.manual_seed(0)
        self.method = HSNet(BackboneConfig(backbone, "random")).to(device).eval()
        self.network = build_pyramid_network(self.backbone.spec).to(device).eval().requires_grad_(False)
        self.network.load_state_dict(self.backbone.state, strict=False)
        self.query, self.support = (torch.randn(3, side, side, device=device) for _ in range(2))
        self.mask, edge = torch.zeros(1, side, side, device=device), round(side * kept**0.5)
        self.mask[:, (side - edge) // 2 : (side + edge) // 2, (side - edge) // 2 : (side + edge) // 2] = 1

    @property
    def backbone(self) -> FrozenPyramid:
        """The suite's network."""
        return self.method.backbone

    def plain_maps(self, image: Tensor) -> list[Tensor]:
        """Return the map (1, C, h, w) of every block that is read."""
        return block_features(self.network, image[None])[self.backbone.spec.blocks[0] :]

    def plain(self) -> Tensor:
        """Return the logits by the plain formulas."""
        pairs = zip(self.plain_maps(self.query), self.plain_maps(self.support), strict=True)
        cosines = [block_correlation(query, support, self.mask) for query, support in pairs]
        with plain_formulas():
            logits: Tensor = self.method.hpn_learner(split_stages(cosines, self.backbone.spec.blocks[1:])[::-1])
        return logits

    def maps(self, image: Tensor) -> list[Tensor]:
        """Return the suite's maps (1, L, C, h, w) of the stages that are read."""
        return [scale[None] for scale in self.backbone.encode(image)]

    def ours(self) -> Tensor:
        """Return the logits as the suite computes them."""
        query, support = self.maps(self.query), self.maps(self.support)
        return self.method.segment(self.method.query(query), self.method.support(support, self.mask))

    def blocks(self) -> list[Tensor]:
        """Return what `plain_maps` does of the query, from the suite's network."""
        return [block for stage in self.maps(self.query) for block in stage.unbind(1)]


def hsnet_cases(
    device: torch.device, backbone: str = "resnet50_v1", kept: float = 0.25, side: int = 400
) -> Iterator[Case]:
    """Compare what an episode computes (network on both images, correlation, learner), and the network on one image.

    --kept is the share of the support that its mask keeps.
    """
    episode, shape = HSNetEpisode(device, backbone, kept, side), f"{backbone}, {side} pixels"
    for what, plain, ours in (
        (f"HSNet, an episode, {shape}, 1-way 1-shot, {kept:.0%} of the support kept", episode.plain, episode.ours),
        (f"HSNet's network, {shape}, one image", partial(episode.plain_maps, episode.query), episode.blocks),
    ):
        paths = {"plain": forward(plain), "ours": forward(ours)}
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
