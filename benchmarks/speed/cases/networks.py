"""oneDNN's kernels of frozen networks beside torch's default on this CPU."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.speed.harness import Case, relative_difference
from fsbench.backbones.base import BackboneConfig, FrozenBackbone
from fsbench.backbones.onednn import KernelName, onednn_problem
from fsbench.backbones.pyramid import FrozenPyramid
from fsbench.backbones.vit import VITS, FrozenViT
from fsbench.errors import SettingsError

KERNELS: tuple[KernelName, KernelName] = ("default", "onednn")


def frozen_networks(name: str) -> dict[KernelName, FrozenBackbone]:
    """Return the network with each kind of kernels, the same random weights in both."""
    kind: type[FrozenBackbone] = FrozenViT if name in VITS else FrozenPyramid
    networks = {kernels: kind(BackboneConfig(name, "random")) for kernels in KERNELS}
    for kernels, network in networks.items():
        network.use_cpu_kernels(kernels)
    return networks


def cases(
    device: torch.device,
    networks: str = "dinov2_vits14:700,dino_vitb16:400,swin_base:384,resnet50:384",
    threads: int = 1,
) -> Iterator[Case]:
    """Compare one image of noise through each network with random weights.

    On a processor of Intel the ratio is near 1; `MKL_ENABLE_INSTRUCTIONS=AVX2` before the command takes AVX-512 from
    MKL alone, which stands in for a processor whose AVX-512 MKL does not use.
    """
    if device.type != "cpu" or (problem := onednn_problem()):
        raise SettingsError(f"nothing can be compared: {'the device is no CPU' if device.type != 'cpu' else problem}")
    torch.set_num_threads(threads)
    for word in networks.split(","):
        name, _, side = word.partition(":")
        image = torch.randn(3, int(side), int(side), generator=torch.Generator().manual_seed(0))
        paths = {kernels: partial(net.encode, image) for kernels, net in frozen_networks(name).items()}
        yield Case(
            f"{name}, one image of {side} pixels",
            paths,
            lambda paths=paths: relative_difference(*(call() for call in paths.values())),
            memory=None,
        )
