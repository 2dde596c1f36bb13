"""Time, memory and error of one call on a GPU, as `make gpu-check` measures them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import torch

Rows = Iterator[tuple[str, str, Callable[[], "Figures"]]]
"""A table's rows before they are measured: the operation, the implementation, and a function that measures it."""
Part = Callable[[torch.device, bool, float], Rows]
"""Device, small sizes, deadline of time.monotonic -> rows."""
CALLS = 20
"""The most calls that are timed, within half a second."""


@dataclass
class Figures:
    """Figures of one call.

    Attributes:
        error: distance from the reference, relative to it.
        bound: the largest distance that is allowed; None for any.
        seconds: median of one call.
        mib: most that the device had allocated during a call.
        note: further words.
    """

    error: float | None = None
    bound: float | None = None
    seconds: float | None = None
    mib: float | None = None
    note: str = ""

    @property
    def near(self) -> bool:
        """Whether the error is within its bound; NaN is not."""
        return self.bound is None or (self.error is not None and self.error <= self.bound)


def cost(call: Callable[[], object], device: torch.device) -> tuple[float, float | None]:
    """Return the median seconds of a call, after one that warms up, and the most memory it had allocated in MiB."""
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    call()
    wait()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times: list[float] = []
    while not times or (sum(times) < 0.5 and len(times) < CALLS):
        started = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - started)
    return median(times), torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else None
