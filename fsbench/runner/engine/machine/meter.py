"""Time and peak memory of a stage of a run, in this process and over all ranks."""

import ctypes
import gc
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch
import torch.distributed


class Meter:
    """Measures time and peak memory since its construction.

    Peak memory is the most that CUDA allocated on the device, or the largest resident size of the process on the CPU
    (Linux lets us reset it; elsewhere it is the largest since the process began).

    Args:
        device: the device on which the measured part computes.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.started = time.perf_counter()
        if device.type == "cuda":
            torch.cuda.init()  # before which there are no statistics to reset
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _reset_resident_peak()

    @property
    def seconds(self) -> float:
        """Seconds since the meter was made."""
        return time.perf_counter() - self.started

    @property
    def peak_mib(self) -> float:
        """Peak memory of this process in MiB."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return resident_mib("VmHWM")

    def peak_mib_of_all_ranks(self) -> float:
        """Return the largest peak memory of all ranks in MiB. Every rank must call it."""
        if not torch.distributed.is_initialized():
            return self.peak_mib
        peaks: list[float] = [0.0] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(peaks, self.peak_mib)
        return max(peaks)


def release_memory() -> None:
    """Return freed memory to the system (glibc only), so that later peaks can be measured."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _reset_resident_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # not Linux, or not allowed


def resident_mib(field: str = "VmRSS") -> float:
    """Return this process's resident memory in MiB.

    Args:
        field: "VmRSS" for the present size, "VmHWM" for the largest so far. On systems other than Linux both give the
            largest so far.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split(f"{field}:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
