"""Compare oneDNN's kernels of frozen networks with torch's default on this CPU, in one process.

    python -m benchmarks.speed.cpu_kernels [--networks dinov2_vits14:700,swin_base:384] [--repeats 3] [--threads 1]

One line for each network and image side: processor seconds of one image (the median of `--repeats`, the two kinds of
kernels in turn), their ratio, and the largest difference of the features over the largest feature. Weights and image
are random. On a processor of Intel the ratio is near 1; `MKL_ENABLE_INSTRUCTIONS=AVX2` before the command takes
AVX-512 from MKL alone, which stands in for a processor whose AVX-512 MKL does not use.
"""

import argparse
import os
import statistics
import time

import torch

from benchmarks.speed.measure import Recorder, Row, add_json_option
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


def compare(name: str, side: int, repeats: int, recorder: Recorder) -> str:
    """Return the line of the network `name` for images of `side` pixels; `recorder` gets its figures."""
    networks = frozen_networks(name)
    image = torch.randn(3, side, side, generator=torch.Generator().manual_seed(0))
    features = {kernels: _flat(network.encode(image)) for kernels, network in networks.items()}
    seconds: dict[KernelName, list[float]] = {kernels: [] for kernels in KERNELS}
    for _ in range(repeats):
        for kernels, network in networks.items():
            started = time.process_time()
            network.encode(image)
            seconds[kernels].append(time.process_time() - started)
    default, onednn = (statistics.median(seconds[kernels]) for kernels in KERNELS)
    for kernels, times in seconds.items():
        recorder.rows.append(Row(what=f"{name}, one image of {side} pixels", path=kernels, times=times))
    difference = (features["onednn"] - features["default"]).abs().max() / features["default"].abs().max()
    return f"{name:16} {side:5} {default:9.3f} s {onednn:9.3f} s {default / onednn:7.2f}x {float(difference):12.1e}"


def _flat(features: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.cat([part.flatten() for part in (features if isinstance(features, tuple) else (features,))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="dinov2_vits14:700,dino_vitb16:400,swin_base:384,resnet50:384")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    add_json_option(parser)
    options = parser.parse_args()
    if problem := onednn_problem():
        raise SettingsError(f"nothing can be compared: {problem}")
    torch.set_num_threads(options.threads)
    settings = (
        f"torch {torch.__version__}, MKL_ENABLE_INSTRUCTIONS={os.environ.get('MKL_ENABLE_INSTRUCTIONS', 'unset')}"
    )
    recorder = Recorder(torch.device("cpu"), "torch's default kernels", True, settings)
    print(f"{'network':16} {'side':>5} {'default':>11} {'onednn':>11} {'ratio':>8} {'difference':>12}")
    for word in options.networks.split(","):
        name, _, side = word.partition(":")
        print(compare(name, int(side), options.repeats, recorder), flush=True)
    recorder.write(options.json)


if __name__ == "__main__":
    main()
