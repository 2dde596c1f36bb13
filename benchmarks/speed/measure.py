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


def measure(call: Callable[[], object], device: torch.device, repeats: int = 3, processor: bool = False) -> Cost:
    """One warm-up call, then `repeats` timed ones, then one whose memory is watched; 0 repeats: a single call for both.

    `processor`: processor seconds of all threads, which other programs on the machine hardly change.
    """
    if repeats:
        call()
    seconds = sorted(_timed(call, device, processor) for _ in range(repeats))
    release_memory()
    cuda = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) / 2**20 if cuda else resident_mib()
    meter = Meter(device)
    watched = _timed(call, device, processor)
    return Cost(seconds[len(seconds) // 2] if seconds else watched, max(meter.peak_mib - before, 0))


def _timed(call: Callable[[], object], device: torch.device, processor: bool) -> float:
    clock = time.process_time if processor else time.perf_counter
    _wait(device)
    started = clock()
    call()
    _wait(device)
    return clock() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
