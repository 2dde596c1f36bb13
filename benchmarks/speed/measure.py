"""Measure the time and the peak memory of a call, for the benchmarks in this folder."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from fsbench.engine.machine.meter import Meter, release_memory, resident_mib


@dataclass(frozen=True)
class Cost:
    """Cost of a call.

    Attributes:
        seconds: median over the repeats.
        peak_mib: largest memory in MiB beyond what was held before the call.
    """

    seconds: float
    peak_mib: float


def measure(call: Callable[[], object], device: torch.device, repeats: int = 3, processor: bool = False) -> Cost:
    """Measure `call`: one warm-up, then `repeats` timed calls, then one whose memory is watched.

    Args:
        call: what is measured.
        device: where it runs; memory is that of the GPU, or the resident memory of the process.
        repeats: timed calls; 0 makes a single call for time and memory.
        processor: count processor seconds of all threads, which other programs on the machine hardly change.
    """
    if repeats:
        call()
    seconds = sorted(_timed(call, device, processor) for _ in range(repeats))
    release_memory()
    cuda = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) / 2**20 if cuda else resident_mib()
    meter = Meter(device)
    single = _timed(call, device, processor)
    return Cost(seconds[len(seconds) // 2] if seconds else single, max(meter.peak_mib - before, 0))


def _timed(call: Callable[[], object], device: torch.device, processor: bool) -> float:
    """Return the seconds of one call."""
    clock = time.process_time if processor else time.perf_counter
    _synchronize(device)
    started = clock()
    call()
    _synchronize(device)
    return clock() - started


def _synchronize(device: torch.device) -> None:
    """Wait for the GPU, if there is one."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or the number of CPU threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
