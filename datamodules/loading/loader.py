"""A DataLoader whose worker processes start only while nothing else runs, and only where their batches have room."""

import io
import pickle
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Generator, Tensor, distributed
from torch.utils.data import DataLoader, get_worker_info

from fsbench.base.errors import MORE_SHARED_MEMORY
from fsbench.base.files.opening import in_units
from fsbench.base.terminal import print_note
from fsbench.datamodules.loading.distributed import ranks

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux has the memory through which workers hand over batches; containers get 64 MiB of it by themselves."""
PLENTY = 4 << 30
"""Bytes of free shared memory with which nobody asks how many a batch has."""
THREADS = Path("/proc/self/task")
LONGEST_SECONDS = 1.0
STEP_SECONDS = 0.002


class Loader(DataLoader[Any]):
    """PyTorch's DataLoader, safe to start after a collective operation and where there is little shared memory.

    If the workers' batches do not fit into shared memory, the main process loads the batches itself and prints a note.

    After a collective operation, a thread of gloo enters the interpreter to free its tensors. A process forked at that
    moment hangs: CPython 3.11 takes a lock in the child that the thread held (about once in 1000 forks of a loaded
    machine; later versions renew the lock first).
    """

    def __iter__(self) -> Any:
        if self.num_workers > 0 and distributed.is_available() and distributed.is_initialized():
            wait_for_threads()
        if self.num_workers > 0 and not isinstance(self.collate_fn, SharedBatches):  # the first time
            self.collate_fn = SharedBatches(self.collate_fn)
            if lacking := self._lacking_memory():
                print_note(f"batches are loaded without worker processes: {lacking}; {MORE_SHARED_MEMORY}")
                self.num_workers = 0
        return super().__iter__()

    def _lacking_memory(self) -> str:
        """Return how much shared memory the workers need, and how much there is; "" if it is enough.

        A worker has so many batches ready, and one that is used. Other loaders may be as large as this one.
        """
        free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else PLENTY
        if free >= PLENTY:
            return ""
        first = next(iter(self.sampler if self.batch_sampler is None else self.batch_sampler), None)
        if first is None:
            return ""
        items = first if isinstance(first, list) else [first]
        # measured in another process: libraries that have had threads in this one may hang in its forks
        (size,) = DataLoader(
            self.dataset, batch_sampler=[items], num_workers=1, collate_fn=_bytes, worker_init_fn=end_quietly,
            generator=Generator(),  # else torch's own is another one afterwards
        )  # fmt: skip
        ready = self.num_workers * ((self.prefetch_factor or 0) + 1)
        needed = 2 * size * ready * ranks()[1]
        if needed <= free:
            return ""
        return f"{self.num_workers} may need {in_units(needed)} of shared memory, of which {in_units(free)} are free"


def _bytes(items: Sequence[Any]) -> int:
    return len(pickle.dumps(items))


class SharedBatches:
    """Collate function that moves batches into shared memory in a worker process.

    torch does this in a thread of the worker, where an error is only printed and the waiting process hangs. Here the
    error reaches the waiting process.

    Args:
        collate: makes a batch of items.
    """

    def __init__(self, collate: Callable[[Any], Any]):
        self.collate = collate

    def __call__(self, items: Any) -> Any:
        batch = self.collate(items)
        if get_worker_info() is not None:
            _Sharing(io.BytesIO()).dump(batch)
        return batch


class _Sharing(pickle.Pickler):
    """Moves the tensors of what it writes to shared memory, and leaves them out."""

    def persistent_id(self, value: Any) -> bool | None:
        if not isinstance(value, Tensor):
            return None
        value.share_memory_()
        return True


def end_quietly(worker: int) -> None:
    """Make a worker process end without a traceback when its command ends (a `worker_init_fn`).

    multiprocessing's thread that hands over batches prints a traceback if the receiving process is gone. Errors of a
    data set still reach the receiving process.
    """
    sys.excepthook = lambda *_: None


def wait_for_threads() -> None:
    """Wait until all other threads of this process have been asleep twice, for a second at most.

    It looks twice, since at the first look a thread may have been waiting for the interpreter. On systems without
    Linux's list of threads it only waits some milliseconds.
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
