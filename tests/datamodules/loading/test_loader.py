"""Worker processes start while nothing else in the process runs."""

import hashlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import distributed
from torch.utils.data import Dataset

from fsbench.base.errors import describe
from fsbench.datamodules.loading import loader
from fsbench.datamodules.loading.loader import Loader, end_quietly, wait_for_threads

pytestmark = pytest.mark.skipif(not loader.THREADS.is_dir(), reason="needs Linux's list of a process's threads")


@pytest.fixture
def thread():
    """thread(work): a thread that does some work, and is waited for after the test."""
    threads = []

    def start(work: Callable[[], object]) -> threading.Thread:
        threads.append(threading.Thread(target=work))
        threads[-1].start()
        return threads[-1]

    yield start
    for started in threads:
        started.join()


def test_it_returns_when_the_other_threads_sleep(thread, monkeypatch):
    """However long that takes: the work is one call without the interpreter, so that its thread is never asleep."""
    monkeypatch.setattr(loader, "LONGEST_SECONDS", 240)
    content, begun, wakes, done = bytes(1 << 27), threading.Event(), threading.Event(), []
    asleep = thread(wakes.wait)
    thread(lambda: (begun.set(), hashlib.sha256(content), done.append(True)))
    begun.wait()
    wait_for_threads()
    assert asleep.is_alive() and done
    wakes.set()


def test_it_does_not_wait_for_ever(thread, monkeypatch):
    monkeypatch.setattr(loader, "LONGEST_SECONDS", 0.1)
    content, ends = bytes(1 << 20), threading.Event()

    def work() -> None:
        while not ends.is_set():
            hashlib.sha256(content)

    working = thread(work)
    wait_for_threads()
    assert working.is_alive()
    ends.set()


@pytest.mark.parametrize(("workers", "grouped", "waits"), [(2, True, True), (0, True, False), (2, False, False)])
def test_workers_of_one_process_of_several_wait(monkeypatch, workers, grouped, waits):
    waited = []
    monkeypatch.setattr(loader, "wait_for_threads", lambda: waited.append(1))
    if grouped:
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        assert [batch.tolist() for batch in Loader([1, 2, 3], batch_size=2, num_workers=workers)] == [[1, 2], [3]]
    finally:
        if grouped:
            distributed.destroy_process_group()
    assert bool(waited) is waits


class Tells(Dataset):
    """Items that tell of an error as a thread of multiprocessing does, and fail themselves where they are odd."""

    def __len__(self):
        return 2

    def __getitem__(self, number):
        sys.excepthook(ConnectionResetError, ConnectionResetError("nobody takes the batch"), None)
        if number:
            raise ValueError("an image is damaged")
        return number


@pytest.mark.parametrize(("start", "told"), [(None, True), (end_quietly, False)])
def test_a_worker_says_nothing_of_batches_that_nobody_takes(capfd, start, told):
    batches = iter(Loader(Tells(), batch_size=1, num_workers=1, worker_init_fn=start))
    assert next(batches).tolist() == [0]
    with pytest.raises(ValueError, match="an image is damaged"):
        next(batches)
    assert ("nobody takes the batch" in capfd.readouterr().err) is told


class Growing(Dataset):
    """Six items, the first of so many bytes, the others of so many."""

    def __init__(self, first: int, others: int):
        self.sizes = [first, *[others] * 5]

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, number):
        return torch.full((self.sizes[number],), number, dtype=torch.uint8)


MIB = 1 << 20


def load_growing(first: int, others: int) -> None:
    """Print what is loaded by two workers, or why that failed."""
    try:
        items = [item[0] for item in Loader(Growing(first, others), batch_size=None, num_workers=2)]
        print([int(item) for item in items], items[1].is_shared())
    except RuntimeError as error:
        print(describe(error))


@pytest.mark.slow(20)
@pytest.mark.parametrize(
    ("first", "others", "out", "note"),
    [
        (MIB, MIB, "[0, 1, 2, 3, 4, 5] False", "2 may need 12 MiB of shared memory, of which 4 MiB are free"),
        (1000, MIB // 4, "[0, 1, 2, 3, 4, 5] True", ""),
        (1000, 3 * MIB, "the shared memory is full; give the container more of it (docker run --shm-size=8g", ""),
    ],
)
def test_shared_memory_that_is_too_small_stops_no_run(first, others, out, note):
    """4 MiB, in a process that sees other file systems than this one, as in a container."""
    mounted = 'mount -t tmpfs -o size=4m tmpfs /dev/shm && exec "$@"'
    apart = ["unshare", "--mount", "bash", "-c", mounted, "bash"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small /dev/shm")
    code = f"from tests.datamodules.loading.test_loader import load_growing; load_growing({first}, {others})"
    done = subprocess.run([*apart, sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.startswith(out), done.stderr
    assert (note in done.stderr) if note else not done.stderr


@pytest.mark.slow(1)
def test_torchs_generator_is_the_same_after_batches_were_measured(monkeypatch, capsys):
    """Whether or not they have room, and with or without workers."""
    states = []
    for free, workers in ((loader.PLENTY, 0), (loader.PLENTY, 2), (10 * MIB, 2), (100, 2)):
        monkeypatch.setattr(loader.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        torch.manual_seed(0)
        assert [int(item[0, 0]) for item in Loader(Growing(9, 9), batch_size=1, num_workers=workers)] == list(range(6))
        states.append(torch.rand(()).item())
    assert len(set(states)) == 1
    assert capsys.readouterr().err.count("note: batches are loaded without worker processes: ") == 1
