"""Measure the cost of one prediction by number of shots: parameters, arithmetic, time and memory (dcama.md §10).

Weights may be random and the images are noise: no measured figure depends on either, but for the number of points of
methods that prompt SAM where query and support agree. A prediction of minutes is counted once and timed once,
and one of thousands of prompts is extrapolated from two with few.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.flop_counter import FlopCounterMode

from fsbench.base.errors import SettingsError
from fsbench.data.batch import EpisodeBatch, Hints
from fsbench.networks.backbones.hub_networks import FrozenHubNetwork
from fsbench.runner.config.build import compose_method
from fsbench.runner.engine.cost.part_clock import PartClock
from fsbench.runner.engine.machine.meter import Meter, release_memory, resident_mib


@dataclass(frozen=True)
class MethodCost:
    """The cost of one prediction of a method with some number of shots.

    Attributes:
        method: name in configs/methods.
        backbone: name of its backbone.
        image_size: side of the images in pixels.
        shots: K.
        total: frozen and trainable parameters.
        trainable: trainable parameters.
        gmac: 10^9 multiply-accumulates of matrix products and convolutions, which papers call FLOPs.
        seconds: median time by `PartClock`: of the processor in all threads, or of the GPU.
        peak_mib: memory that a prediction needs beyond weights and images.
        basis: how it was measured, where not by `repeats` whole predictions; else "".
    """

    method: str
    backbone: str
    image_size: int
    shots: int
    total: int
    trainable: int
    gmac: float
    seconds: float
    peak_mib: float
    basis: str = ""


SLOW = 10.0
"""Seconds of a prediction above which it is not repeated."""
FEW_PROMPTS = 1 / 64, 1 / 16
"""Shares of a method's prompts from which its cost with all of them is extrapolated."""


@runtime_checkable
class HasManyPrompts(Protocol):
    """A method whose cost grows in proportion to its number of prompts, which takes minutes on a CPU."""

    def limit_prompts(self, share: float) -> int:
        """Prompt with about this share of all prompts from now on; returns their number."""


def method_costs(
    names: Sequence[str],
    shots: Sequence[int],
    weights: str = "random",
    device: torch.device | None = None,
    repeats: int = 3,
    backbone: str | None = None,
    image_size: int | None = None,
) -> Iterator[MethodCost]:
    """Measure each method with each number of shots: 1-way, one query, no cached features.

    Args:
        names: methods of configs/methods.
        shots: numbers of shots, 1 or more.
        weights: weights of the backbone, as in `BackboneConfig`.
        device: where to measure; the CPU if None.
        repeats: timed predictions.
        backbone: backbone instead of the method's own.
        image_size: side of the images instead of the method's own.

    Raises:
        SettingsError: a name is unknown, or the backbone does not take the image size.
    """
    if min(shots) < 1:
        raise SettingsError(f"shots is {min(shots)}, expected 1 or more")
    device = device or torch.device("cpu")
    for name in names:
        composed = compose_method(name, backbone=backbone, weights=weights)
        method = composed.build_method()
        size = image_size or composed.config.data.init_args.image_size
        method.check_image_size(size)
        method = method.to(device).eval()
        total, trainable = method.num_parameters(1), method.num_trainable_parameters(1)
        for network in (method.backbone, *(getattr(method.backbone, name, None) for name in ("sam", "text"))):
            if isinstance(network, FrozenHubNetwork):
                network.network(torch.empty(0, device=device))  # building it takes longer than some predictions
        for count in shots:
            episode = noise_episode(size, count, device)

            def predict(method: Any = method, episode: EpisodeBatch = episode) -> None:
                method.backbone.cache.clear()
                with torch.inference_mode():
                    method(episode)

            if isinstance(method, HasManyPrompts):
                found, basis = _extrapolated(method, predict, device)
            else:
                found, basis = _measure(predict, device, repeats)
            yield MethodCost(name, method.backbone.name, size, count, total, trainable, *found, basis)


def noise_episode(size: int, shots: int, device: torch.device) -> EpisodeBatch:
    """Build a 1-way episode of distinct images of noise, (`size`, `size`), whose support masks are discs."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (1 + shots, 3, size, size), generator=generator, dtype=torch.uint8)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    disc = ((y - size / 2) ** 2 + (x - size / 2) ** 2 < (0.3 * size) ** 2).to(torch.uint8)
    return EpisodeBatch(
        images=images,
        image_names=[f"noise {i}" for i in range(1 + shots)],
        query=torch.zeros(1, dtype=torch.int64),
        support=torch.arange(1, 1 + shots)[None, None],
        support_labels=disc.expand(1, 1, shots, size, size).contiguous(),
        valid=torch.ones(1, 1, shots, dtype=torch.bool),
        query_sizes=torch.tensor([[size, size]]),
        episodes=torch.zeros(1, dtype=torch.int64),
        truth=None,
        hints=[Hints(class_names=("noise",))],
    ).to(device)


Figures = tuple[float, float, float]
"""10^9 multiply-accumulates, seconds, and MiB beyond the memory in use before."""


def _extrapolated(method: HasManyPrompts, call: Callable[[], None], device: torch.device) -> tuple[Figures, str]:
    """Return the figures of all prompts, on the line through those of two small numbers of them."""
    every = method.limit_prompts(1.0)
    (few, first), (more, second) = [(method.limit_prompts(share), _once(call, device)) for share in FEW_PROMPTS]
    method.limit_prompts(1.0)
    if more == few:
        return second, "one prediction"
    steps = (every - few) / (more - few)
    gmac, seconds, peak = (max(a + (b - a) * steps, a) for a, b in zip(first, second, strict=True))
    return (gmac, seconds, peak), f"extrapolated to {every:,} prompts from predictions with {few} and {more}"


def _measure(call: Callable[[], None], device: torch.device, repeats: int) -> tuple[Figures, str]:
    """Return the figures of a call, with its median seconds, and how they were measured where it is timed once."""
    first = _once(call, device)
    is_slow = first[1] > SLOW
    before, meter = _held(device), Meter(device)  # not the first call's: under its counter gradients hold more
    seconds = [_seconds(call, device) for _ in range(1 if is_slow else repeats)]
    peak = max(meter.peak_mib - before, 0.0)
    return (first[0], statistics.median(seconds), peak), "one prediction" if is_slow else ""


def _once(call: Callable[[], None], device: torch.device) -> Figures:
    """Return the figures of a single call; what it leaves behind, such as a network, is not its memory."""
    before, meter = _held(device), Meter(device)
    with FlopCounterMode(display=False) as counter:
        seconds = _seconds(call, device)
    peak = meter.peak_mib
    return counter.get_total_flops() / 2e9, seconds, max(peak - max(before, _held(device)), 0.0)


def _held(device: torch.device) -> float:
    """Return the MiB in use."""
    release_memory()
    return torch.cuda.memory_allocated(device) / 2**20 if device.type == "cuda" else resident_mib()


def _seconds(call: Callable[[], None], device: torch.device) -> float:
    clock = PartClock(device)
    with clock.part("prediction"):
        call()
    return clock.seconds()["prediction"]


HEAD = ("method", "backbone", "image", "shots", "parameters", "trainable", "GMAC", "seconds", "peak MiB")


def cost_rows(costs: Sequence[MethodCost]) -> list[list[str]]:
    """Return the table of costs as text, its head first."""
    rows = [
        [
            *(c.method, c.backbone, str(c.image_size), str(c.shots), f"{c.total:,}", f"{c.trainable:,}"),
            *(f"{c.gmac:.1f}", f"{c.seconds:.3f}", f"{c.peak_mib:,.0f}"),
        ]
        for c in costs
    ]
    return [list(HEAD), *rows]


def plain(costs: Sequence[MethodCost]) -> list[dict[str, Any]]:
    """Return the costs as plain values for JSON."""
    return [asdict(cost) for cost in costs]
