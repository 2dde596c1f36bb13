"""Frozen networks: in bf16 beside fp32, and a ResNet beside the one with BatchNorms of their own."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from unittest import mock

import torch
from torch import Tensor

from benchmarks.speed.harness import Case, call_difference
from fsbench.base.precision import NetworkPrecision
from fsbench.networks.backbones import timm_networks
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone
from fsbench.networks.backbones.timm_networks import VITS, FrozenPyramid, FrozenViT

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
        plain, ours = (FrozenPyramid(BackboneConfig(name, "random:0")) for _ in range(2))
        with mock.patch.object(timm_networks, "_folded_resnet", lambda network, first: network):
            plain.encode(image)  # builds the network
        calls = {"with BatchNorms": partial(plain.encode, image), "ours": partial(ours.encode, image)}
        yield _case(f"{name}, one image of {image.shape[1]} pixels", calls, 1e-3)


def _images(listed: str, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    """Yield names with images of noise from words such as "resnet50:400"."""
    for name, side in (word.split(":") for word in filter(None, listed.split(","))):
        generator = torch.Generator().manual_seed(0)
        yield name, torch.randn(3, int(side), int(side), generator=generator).to(device)


def _case(what: str, calls: Mapping[str, Callable[[], object]], tolerance: float) -> Case:
    paths = {name: torch.no_grad()(call) for name, call in calls.items()}
    return Case(what, paths, partial(call_difference, *paths.values()), tolerance)
