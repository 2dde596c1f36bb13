"""Frozen networks in bf16 beside fp32 on this machine, and the memory of features that are kept."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.speed.harness import Case, call_difference
from fsbench.backbones.base import BackboneConfig, FrozenBackbone, NetworkPrecision
from fsbench.backbones.pyramid import FrozenPyramid
from fsbench.backbones.vit import VITS, FrozenViT

PRECISIONS: tuple[NetworkPrecision, NetworkPrecision] = ("fp32", "bf16")


def frozen_networks(name: str) -> dict[NetworkPrecision, FrozenBackbone]:
    """Return the network in each precision, the same random weights in both."""
    kind: type[FrozenBackbone] = FrozenViT if name in VITS else FrozenPyramid
    return {precision: kind(BackboneConfig(name, "random", precision=precision)) for precision in PRECISIONS}


def cases(
    device: torch.device, networks: str = "dinov2_vits14:448,swin_base:384,resnet50:400", threads: int = 1
) -> Iterator[Case]:
    """Compare one image of noise through each network with random weights, as `--backbone-precision` has it computed.

    A processor gains by bf16 where it multiplies in it (AMX, AVX512-BF16); elsewhere it converts, and loses.
    """
    torch.set_num_threads(threads)
    for word in networks.split(","):
        name, _, side = word.partition(":")
        image = torch.randn(3, int(side), int(side), generator=torch.Generator().manual_seed(0)).to(device)
        paths = {str(precision): partial(net.encode, image) for precision, net in frozen_networks(name).items()}
        yield Case(
            f"{name}, one image of {side} pixels",
            paths,
            partial(call_difference, *paths.values()),
        )


def kept_cases(
    device: torch.device, network: str = "resnet50", side: int = 400, images: int = 16, bound_mib: int = 320
) -> Iterator[Case]:
    """Measure what the memory of a process grows by while features are kept, beside the bound on them.

    The images are encoded one after the other, or by fours as in training, and more come than fit. "none kept" is what
    encoding takes besides.
    """
    torch.set_num_threads(1)
    batch = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)

    def encode(bound: int, together: bool) -> None:
        frozen = FrozenPyramid(BackboneConfig(network, "random", cache_mib=bound))
        frozen.fine = False
        for start in range(0, images, 4):
            found = frozen.encode_together(batch) if together else None
            for row in range(4):
                compute = partial(lambda found, row: found[row] if found else frozen.encode(batch[row]), found, row)
                frozen.cache.get("pyramid", start + row, compute)

    paths = {
        "none kept": partial(encode, 0, False),
        "kept": partial(encode, bound_mib, False),
        "by fours, none kept": partial(encode, 0, True),
        "by fours, kept": partial(encode, bound_mib, True),
    }
    yield Case(f"{network}, {images} images of {side} pixels, features kept up to {bound_mib} MiB", paths)
