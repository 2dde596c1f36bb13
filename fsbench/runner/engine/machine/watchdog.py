"""Processes of one run, and the commands that start them, end together: none goes on where another is gone."""

import logging
import multiprocessing
import os
import signal
import site
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from fsbench.base.environment import PARENT
from fsbench.base.errors import GOES_ON, RunError
from fsbench.base.paths import REPOSITORY
from fsbench.base.terminal import print_error, print_line

POLL_SECONDS = 0.25
ENDING_SECONDS = 4.0
"""Time that a process may take to end after it has closed its connections."""
GRACE_SECONDS = 2.0
"""Time for a process to end with an error of its own after another failed; its message says more than ours."""

log = logging.getLogger("fsbench")


def describe_exit(status: int) -> str:
    """Describe in words how a process with this exit status ended.

    >>> describe_exit(2), describe_exit(-9)
    ('status 2', 'killed by SIGKILL; out of memory?')
    """
    if status >= 0:
        return f"status {status}"
    return f"killed by {signal.Signals(-status).name}{'; out of memory?' if status == -signal.SIGKILL else ''}"


def child_environment() -> dict[str, str]:
    """Return the environment for a child process that ends when this process does."""
    return os.environ | safe_imports() | {PARENT: str(os.getpid())}


def safe_imports() -> dict[str, str]:
    """Return environment variables with which a child process imports fsbench, but nothing from its working folder.

    In a folder of downloads, `python -m` would otherwise run any `fsbench` that it finds there. If fsbench runs from a
    checkout that is not installed, the checkout is put into PYTHONPATH.
    """
    folders = [str(REPOSITORY)] if str(REPOSITORY) not in site.getsitepackages() else []
    given = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder not in ("", *folders)]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(folders + given)}


@contextmanager
def kept_environment(names: Iterable[str]) -> Iterator[None]:
    """Restore the environment variables `names` to their present values after the block."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def changed_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables within the block."""
    with kept_environment(variables):
        os.environ.update(variables)
        yield


@contextmanager
def sigterm_exits() -> Iterator[None]:
    """Turn SIGTERM into SystemExit within the block, so that child processes can be stopped first."""

    def leave(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class Watchdog:
    """Thread that ends this process when another process of the same run, which it needs, is gone.

    Args:
        ranks: returns the processes that this one started, which are the ranks 1, 2, …
    """

    def __init__(self, ranks: Callable[[], Sequence["subprocess.Popen[bytes]"]]):
        self.ranks = ranks
        self.starter = os.environ.get(PARENT)
        self._finished = threading.Event()

    def __enter__(self) -> "Watchdog":
        self._variables = changed_environment({**safe_imports(), PARENT: str(os.getpid())})
        self._variables.__enter__()
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._finished.set()
        if kind is not None and issubclass(kind, Exception):
            if os.environ.get("LOCAL_RANK", "0") != "0":
                time.sleep(GRACE_SECONDS / 2)  # rank 0, which may fail alike, ends this process and speaks
            self._end_ranks()
        self._variables.__exit__(None, None, None)

    def lost_peer(self) -> RunError | None:
        """Return an error about another process of the run that ended before this one; None if all are running.

        A collective operation already fails when the other process closes its connections, shortly before it ends.
        """
        end = time.monotonic() + ENDING_SECONDS
        while not (loss := self._loss()) and time.monotonic() < end:
            time.sleep(POLL_SECONDS / 5)
        return loss

    def _loss(self) -> RunError | None:
        """Return the error about a process that is gone, told where that has said itself why; None if all are there."""
        for rank, process in enumerate(self.ranks(), 1):
            if status := process.poll():
                loss = RunError(
                    f"process {rank} of this run ended ({describe_exit(status)}), so the run stopped; {GOES_ON}"
                )
                loss.is_told = status > 0
                return loss
        starter = multiprocessing.parent_process()  # of a run that a command started by the fork server
        is_left = starter is not None and not starter.is_alive()
        if is_left or (starter is None and self.starter not in (None, str(os.getppid()))):
            return RunError(f"this run stopped because the process that started it ended; {GOES_ON}")
        return None

    def _watch(self) -> None:
        while not self._finished.wait(POLL_SECONDS):
            loss = self._loss()
            if loss and not self._finished.wait(GRACE_SECONDS if loss.is_told else 0):
                log.error(str(loss))
                if not loss.is_told:
                    print_line(file=sys.stderr)  # below the bar of progress
                    print_error(str(loss))
                self._end_ranks()
                os._exit(1)  # past the main thread, which may be waiting in a collective that nothing ends

    def _end_ranks(self) -> None:
        for process in self.ranks():
            process.kill()
