"""Time and peak memory of a call, for the benchmarks beside this file."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from fsbench.cost import Meter, release_memory, resident_mib


@dataclass(frozen=True)
class Cost:
    """Median seconds of a call, and the largest memory it held beyond what was there before, in MiB."""

    seconds: float
    peak_mib: float


def measure(call: Callable[[], object], device: torch.device, repeats: int = 3) -> Cost:
    """One warm-up call, then `repeats` timed ones, then one whose memory is watched."""
    call()
    seconds = sorted(_timed(call, device) for _ in range(repeats))
    release_memory()
    cuda = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) / 2**20 if cuda else resident_mib()
    meter = Meter(device)
    call()
    return Cost(seconds[len(seconds) // 2], max(meter.peak_mib - before, 0))


def _timed(call: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
