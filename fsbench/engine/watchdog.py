"""End all processes of a run together.

A rank that is killed would leave the others waiting in a collective for half an hour, and a run whose starter was
killed would go on unseen. So each process watches the processes it started and the one that started it. (Lightning's
own observer of child processes looks every 5 s, tells no reason, and does not watch the parent.)
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from fsbench.errors import GOES_ON

PARENT = "FSBENCH_PARENT"
"""Environment variable with the id of the process that its child processes must not outlive."""

POLL_SECONDS = 0.25
GRACE_SECONDS = 2.0
"""Time for a process to end with an error of its own after another failed; its message says more than ours."""

log = logging.getLogger("fsbench")


def describe_exit(status: int) -> str:
    """Return how a process with the exit status `status` ended, in words."""
    return f"status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"


def child_environment() -> dict[str, str]:
    """Return the environment for a child process that is to end when this process does, however that happens."""
    return os.environ | {PARENT: str(os.getpid())}


@contextmanager
def sigterm_exits() -> Iterator[None]:
    """Raise SystemExit at SIGTERM within the block, so that child processes can be stopped first."""

    def leave(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class ProcessWatchdog:
    """End this process, from a thread that runs within the block, when a process that it needs is gone.

    Args:
        children: returns the processes that this one started: the ranks 1, 2, …
    """

    def __init__(self, children: Callable[[], Sequence[subprocess.Popen[bytes]]]):
        self.children = children
        self.expected_parent = os.environ.get(PARENT)
        self._finished = threading.Event()

    def __enter__(self) -> "ProcessWatchdog":
        os.environ[PARENT] = str(os.getpid())
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._finished.set()
        del os.environ[PARENT]
        if self.expected_parent is not None:
            os.environ[PARENT] = self.expected_parent

    def dead_process(self, seconds: float = 0) -> str | None:
        """Return which process is gone, in words, or None while all are running.

        Args:
            seconds: time to keep looking; the system may report an end a moment after a connection broke.
        """
        end = time.monotonic() + seconds
        while (death := self._find_dead()) is None and time.monotonic() < end:
            time.sleep(POLL_SECONDS / 5)
        return death and death[0]

    def _find_dead(self) -> tuple[str, float] | None:
        """Return which process is gone, and the seconds that this process has to end by itself."""
        for rank, child in enumerate(self.children(), 1):
            status = child.poll()
            if status:
                sudden = status < 0 and -status not in (signal.SIGINT, signal.SIGTERM)
                return f"process {rank} of this run ended ({describe_exit(status)})", 0 if sudden else GRACE_SECONDS
        if self.expected_parent is not None and self.expected_parent != str(os.getppid()):
            return "the process that started this one ended", 0
        return None

    def _watch(self) -> None:
        while not self._finished.wait(POLL_SECONDS):
            death = self._find_dead()
            if death and not self._finished.wait(death[1]):
                self._end(f"{death[0]}; {GOES_ON}")

    def _end(self, message: str) -> None:
        """End at once, past the main thread, which may be waiting in a collective that nothing ends."""
        log.error(message)
        print(f"\nfsbench: error: {message}", file=sys.stderr, flush=True)
        for child in self.children():
            child.kill()
        os._exit(1)
