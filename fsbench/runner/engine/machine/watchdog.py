"""End all processes of a run together.

A rank that is killed would leave the others waiting in a collective for half an hour, and a run whose starter was
killed would go on unseen. So each process watches the processes it started and the one that started it. Lightning's
own observer of child processes is not started beside it: it looks every 5 s, tells no reason, does not watch the
parent, and kills rank 0 also while that says why another rank has failed.
"""

import logging
import multiprocessing
import os
import signal
import site
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from fsbench.base.environment import PARENT
from fsbench.base.errors import GOES_ON, RunError
from fsbench.base.paths import REPOSITORY
from fsbench.base.terminal import print_error, print_line

POLL_SECONDS = 0.25
GRACE_SECONDS = 2.0
"""Time for a process to end with an error of its own after another failed; its message says more than ours."""

UNWINDING_SECONDS = 20.0
"""Time for a process that failed to leave its loops and loaders and to end."""

LAUNCHER = "lightning.pytorch.strategies.launchers.subprocess_script"
"""Module that starts ranks and Lightning's observer of them."""
OBSERVER = "_launch_process_observer"
"""Its function that does the latter."""

log = logging.getLogger("fsbench")


def describe_exit(status: int) -> str:
    """Return how a process with the exit status `status` ended, in words."""
    return f"status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"


def child_environment() -> dict[str, str]:
    """Return the environment for a child process that is to end when this process does, however that happens."""
    return os.environ | safe_imports() | {PARENT: str(os.getpid())}


def safe_imports() -> dict[str, str]:
    """Return the variables with which a child process imports this suite, and nothing from its working folder.

    That may be a folder of downloads, where `python -m` would take any `fsbench` for ours. A checkout that is not
    installed is named in PYTHONPATH, where `python -m fsbench` in it has found it in the working folder.
    """
    folders = [str(REPOSITORY)] if str(REPOSITORY) not in site.getsitepackages() else []
    given = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder not in ("", *folders)]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(folders + given)}


@contextmanager
def changed_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process within the block, and give them back the values that they had."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def is_broken_collective(error: RuntimeError) -> bool:
    """Return whether `error` is that of a collective (gloo's, NCCL's) which another process has left."""
    kinds = ("DistBackendError", "DistNetworkError", "DistStoreError")
    words = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return type(error).__name__ in kinds or any(word in str(error) for word in words)


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
        self._variables = changed_environment({**safe_imports(), PARENT: str(os.getpid())})
        self._variables.__enter__()
        self._launcher: Any = sys.modules.get(LAUNCHER)  # whoever starts ranks has imported it
        self._observe = getattr(self._launcher, OBSERVER, None)
        if self._observe is not None:
            setattr(self._launcher, OBSERVER, lambda child_processes: None)
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._finished.set()
        if kind is not None and issubclass(kind, Exception):
            self._leave_one_message()
        if self._observe is not None:
            setattr(self._launcher, OBSERVER, self._observe)
        self._variables.__exit__(None, None, None)

    def lost_peer(self) -> RunError:
        """Return the error of a process whose connection to another one of the run broke.

        That one may take a while to end, and to say why: this waits for it.
        """
        end = time.monotonic() + UNWINDING_SECONDS
        while (death := self._find_dead()) is None and time.monotonic() < end:
            time.sleep(POLL_SECONDS / 5)
        error = RunError(f"{death.words if death else 'another process of this run does not answer'}; {GOES_ON}")
        error.is_told = death is not None and death.is_told
        return error

    def _leave_one_message(self) -> None:
        """Let the first process that fails by itself speak for the run.

        Rank 0 ends the others before it speaks, and they wait a moment before they do: one disk that is full stops all.
        """
        if os.environ.get("LOCAL_RANK", "0") != "0":
            time.sleep(GRACE_SECONDS / 2)
        for child in self.children():
            child.kill()

    def _find_dead(self) -> "_Death | None":
        for rank, child in enumerate(self.children(), 1):
            status = child.poll()
            if status:
                sudden = status < 0 and -status not in (signal.SIGINT, signal.SIGTERM)
                words = f"process {rank} of this run ended ({describe_exit(status)})"
                return _Death(words, 0 if sudden else GRACE_SECONDS, is_told=status > 0)
        starter = multiprocessing.parent_process()  # of a fork; `expected_parent` is the server then
        is_left = starter is not None and not starter.is_alive()
        if is_left or self.expected_parent not in (None, str(os.getppid())):
            return _Death("the process that started this one ended", 0, is_told=False)
        return None

    def _watch(self) -> None:
        while not self._finished.wait(POLL_SECONDS):
            death = self._find_dead()
            if death and not self._finished.wait(death.grace):
                self._end(death)

    def _end(self, death: "_Death") -> None:
        """End at once, past the main thread, which may be waiting in a collective that nothing ends."""
        message = f"{death.words}; {GOES_ON}"
        log.error(message)
        if not death.is_told:
            print_line(file=sys.stderr)  # below the bar of progress
            print_error(message)
        for child in self.children():
            child.kill()
        os._exit(1)


@dataclass(frozen=True)
class _Death:
    """A process that is gone, in words; the seconds that this one has to end by itself; whether that one said why."""

    words: str
    grace: float
    is_told: bool
