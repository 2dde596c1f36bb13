"""Worker processes start while nothing else in the process runs."""

import threading
import time

import pytest
import torch
from torch import distributed

from fsbench.data import loader
from fsbench.data.loader import Loader, wait_for_threads

pytestmark = pytest.mark.skipif(not loader.THREADS.is_dir(), reason="needs Linux's list of a process's threads")


@pytest.fixture
def busy():
    """busy(seconds): a thread that keeps a core for so long."""
    threads = []

    def start(seconds: float) -> threading.Thread:
        def work() -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                torch.ones(200_000).sum()

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join()


def test_it_returns_when_the_other_threads_sleep(busy):
    sleeper = threading.Event()
    asleep = threading.Thread(target=sleeper.wait)
    asleep.start()
    working = busy(0.3)
    wait_for_threads()
    assert asleep.is_alive() and not working.is_alive()
    sleeper.set()
    asleep.join()


def test_it_does_not_wait_for_ever(busy, monkeypatch):
    monkeypatch.setattr(loader, "LONGEST_SECONDS", 0.1)
    working = busy(1)
    wait_for_threads()
    assert working.is_alive()


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
