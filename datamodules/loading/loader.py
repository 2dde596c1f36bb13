"""A DataLoader whose worker processes start only while nothing else in the process runs."""

import sys
import threading
import time
from pathlib import Path
from typing import Any

from torch import distributed
from torch.utils.data import DataLoader

THREADS = Path("/proc/self/task")
LONGEST_SECONDS = 1.0
STEP_SECONDS = 0.002


class Loader(DataLoader[Any]):
    """PyTorch's loader, safe to start after a collective.

    When a collective has ended, a thread of gloo gives its tensors back and for that enters the interpreter. A process
    forked at that moment hangs before its first line: CPython 3.11 takes a lock in the child that the thread held
    (about once in 1000 forks of a loaded machine; later versions renew the lock first).
    """

    def __iter__(self) -> Any:
        if self.num_workers > 0 and distributed.is_available() and distributed.is_initialized():
            wait_for_threads()
        return super().__iter__()


def end_quietly(worker: int) -> None:
    """Keep a worker process, at its start, from printing a traceback when its command ends: a `worker_init_fn`.

    multiprocessing's thread that hands over batches prints one where the process that takes them is gone, below the
    line that says why. A data set's own errors go to that process, and through no hook.
    """
    sys.excepthook = lambda *_: None


def wait_for_threads() -> None:
    """Return when all other threads of this process were seen asleep twice, at the latest after a second.

    Twice, because one may have waited for the interpreter at the first look. Without Linux's list of threads this only
    waits for some milliseconds.
    """
    end = time.monotonic() + LONGEST_SECONDS
    seen_asleep = 0
    while seen_asleep < 2 and time.monotonic() < end:
        time.sleep(STEP_SECONDS)
        seen_asleep = 0 if _is_another_awake() else seen_asleep + 1


def _is_another_awake() -> bool:
    for thread in THREADS.glob("*"):
        if int(thread.name) != threading.get_native_id():
            try:
                state = (thread / "stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
            if state == "R":
                return True
    return False
