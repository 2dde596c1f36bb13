"""The processes of a run end together.

A rank that is killed would leave the others waiting in a collective for half an hour, and a run whose starter was
killed would go on unseen. So each process watches those it started and the one that started it.
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
"""Environment variable: id of the process that what it starts must not outlive."""

POLL_SECONDS = 0.25
GRACE_SECONDS = 2.0
"""What a process has to end with an error of its own when another ended with one, which says more than ours."""

log = logging.getLogger("fsbench")


def ending(status: int) -> str:
    """How a process with the exit status `status` ended, in words."""
    return f"status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"


def child_environment() -> dict[str, str]:
    """Of a process that is to end when this one does, however that happens."""
    return os.environ | {PARENT: str(os.getpid())}


@contextmanager
def sigterm_exits() -> Iterator[None]:
    """Within the block SIGTERM raises SystemExit, so that what runs can be stopped first."""

    def leave(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class Companions:
    """Within the block, a thread ends this process when one that it needs is gone.

    Args:
        children: processes that this one started, those of the ranks 1, 2, …
    """

    def __init__(self, children: Callable[[], Sequence[subprocess.Popen[bytes]]]):
        self.children = children
        self.stated = os.environ.get(PARENT)
        self._over = threading.Event()

    def __enter__(self) -> "Companions":
        os.environ[PARENT] = str(os.getpid())
        threading.Thread(target=self._watch, daemon=True, name="companions").start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        del os.environ[PARENT]
        if self.stated is not None:
            os.environ[PARENT] = self.stated

    def lost(self, seconds: float = 0) -> str | None:
        """Which process is gone, in words; None while all are there. Looks for `seconds`: the system may tell a moment
        after a connection broke."""
        end = time.monotonic() + seconds
        while (found := self._lost()) is None and time.monotonic() < end:
            time.sleep(POLL_SECONDS / 5)
        return found and found[0]

    def _lost(self) -> tuple[str, float] | None:
        """What is gone, and how long this process may take to end by itself."""
        for rank, child in enumerate(self.children(), 1):
            status = child.poll()
            if status:
                sudden = status < 0 and -status not in (signal.SIGINT, signal.SIGTERM)
                return f"process {rank} of this run ended ({ending(status)})", 0 if sudden else GRACE_SECONDS
        if self.stated is not None and self.stated != str(os.getppid()):
            return "the process that started this one ended", 0
        return None

    def _watch(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            found = self._lost()
            if found and not self._over.wait(found[1]):
                self._end(f"{found[0]}; {GOES_ON}")

    def _end(self, message: str) -> None:
        """Without a word to the main thread, which may be waiting in a collective that nothing ends."""
        log.error(message)
        print(f"\nfsbench: error: {message}", file=sys.stderr, flush=True)
        for child in self.children():
            child.kill()
        os._exit(1)
