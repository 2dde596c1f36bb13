"""What a stage of a run costs: time and peak memory of this process."""

import ctypes
import gc
import resource
import time
from contextlib import suppress
from pathlib import Path

import torch


class Meter:
    """Started where a stage begins; `seconds` and `peak_mib` since then.

    Peak memory is what CUDA allocated at most on the device, or the largest resident size of the process on the CPU
    (Linux lets us reset it; elsewhere it is the largest since the process began).
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.started = time.perf_counter()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _reset_resident_peak()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    @property
    def peak_mib(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return resident_mib("VmHWM")


def release_memory() -> None:
    """Give freed memory back to the system, so that it does not hide what comes next (glibc only)."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _reset_resident_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # not Linux, or not allowed


def resident_mib(field: str = "VmRSS") -> float:
    """Resident memory of this process now ("VmRSS") or at most ("VmHWM")."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split(f"{field}:")[1].split()[0]) / 1024
    except (OSError, IndexError):  # not Linux: only the largest is known
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
