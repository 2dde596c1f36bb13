"""Frozen networks: in bf16 beside fp32, and a ResNet beside the one with BatchNorms of their own."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.speed.harness import Case, call_difference
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone, NetworkPrecision
from fsbench.networks.backbones.timm_networks import (
    VITS,
    FrozenPyramid,
    FrozenViT,
    block_features,
    build_pyramid_network,
)

PRECISIONS: tuple[NetworkPrecision, NetworkPrecision] = ("fp32", "bf16")


def cases(
    device: torch.device,
    networks: str = "dinov2_vits14:448,swin_base:384,resnet50:400",
    joined: str = "resnet50_v1:400",
) -> Iterator[Case]:
    """Compare an image of noise through networks with random weights in bf16 and fp32, and without BatchNorms and with.

    A processor gains by bf16 where it multiplies in it (AMX, AVX512-BF16); elsewhere it converts, and loses. In the
    frozen ResNets --joined, BatchNorms are part of the convolutions; beside them stands what they were made of.
    """
    for name, image in _images(networks, device):
        kind: type[FrozenBackbone] = FrozenViT if name in VITS else FrozenPyramid
        full, half = (kind(BackboneConfig(name, "random", precision=precision)) for precision in PRECISIONS)
        calls = {"fp32": partial(full.encode, image), "bf16": partial(half.encode, image)}
        yield _case(f"{name} in bf16, one image of {image.shape[1]} pixels", calls, math.inf)
    for name, image in _images(joined, device):
        frozen = FrozenPyramid(BackboneConfig(name, "random"))
        frozen.fine = False
        network = build_pyramid_network(frozen.spec).to(device).eval().requires_grad_(False)
        network.load_state_dict(frozen.state, strict=False)
        first = frozen.spec.blocks[0]
        yield _case(
            f"{name}, one image of {image.shape[1]} pixels",
            {"with BatchNorms": partial(_blocks, network, image, first), "ours": partial(_encoded, frozen, image)},
            1e-3,
        )


def _images(listed: str, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    """Yield names with images of noise from words such as "resnet50:400"."""
    for name, side in (word.split(":") for word in filter(None, listed.split(","))):
        generator = torch.Generator().manual_seed(0)
        yield name, torch.randn(3, int(side), int(side), generator=generator).to(device)


def _blocks(network: nn.Module, image: Tensor, first: int) -> list[Tensor]:
    return block_features(network, image[None])[first:]


def _encoded(frozen: FrozenPyramid, image: Tensor) -> list[Tensor]:
    return [block for stage in frozen.encode(image) for block in stage[None].unbind(1)]


def _case(what: str, calls: Mapping[str, Callable[[], object]], tolerance: float) -> Case:
    paths = {name: torch.no_grad()(call) for name, call in calls.items()}
    return Case(what, paths, partial(call_difference, *paths.values()), tolerance)
