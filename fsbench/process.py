"""The process of one command: its heavy imports without garbage collection, and its end without taking all apart."""

import atexit
import gc
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_FILE = io.StringIO.__mro__[-2]  # the class of all file objects, without the slow tests of its abstract child
_IN_MEMORY = (io.StringIO, io.BytesIO)


class QuickEnd:
    """End the process once all that was registered for its end has run, instead of taking every object apart.

    That takes a second once torch and Lightning are there. Threads and child processes of multiprocessing are joined,
    functions of `atexit` called and streams flushed as ever; only what Python and C do after that is left out. It is
    not left out where it might matter: with a file that is open to be written or CUDA, after an exception, or where
    something was registered before this object, which would be called after it. A process group is left either
    way, but for one of NCCL after a failure.

    Construct it before anything else is imported.

    Attributes:
        status: exit status to end with; None (at first) for an ordinary end.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self._process = os.getpid()
        self._is_first = atexit._ncallbacks() == 0
        atexit.register(self._end)

    def run(self, main: Callable[[], int]) -> int:
        """Return the exit status of `main`, with which the process is to end; an exception ends it in the usual way."""
        self.status = main()
        return self.status

    def _end(self) -> None:
        if os.getpid() != self._process:
            return
        _leave_process_group(ended_well=self.status == 0)
        if self.status is None or not self._is_first or _is_busy():
            return
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:  # as it is where the shell closed it
                    stream.flush()
        except OSError:
            return  # Python says it
        os._exit(self.status)


def _leave_process_group(ended_well: bool) -> None:
    """Leave the group of ranks: a thread of gloo that enters the interpreter while it is taken apart is an abort.

    After a failure another backend's group (NCCL's) is not left: that could wait for a collective of ranks that wait
    for this process's end.
    """
    distributed: Any = sys.modules.get("torch.distributed")  # what was not imported has nothing to leave
    if not (distributed and distributed.is_available() and distributed.is_initialized()):
        return
    if ended_well or distributed.get_backend() == "gloo":
        distributed.destroy_process_group()


def _is_busy() -> bool:
    """Return whether the process has what an ordinary end takes care of."""
    if sys.flags.inspect or any(not thread.daemon for thread in threading.enumerate()[1:]):
        return True
    cuda: Any = sys.modules.get("torch.cuda")
    return bool((cuda and cuda.is_initialized()) or _has_open_files())


def _has_open_files() -> bool:
    """Return whether a file besides the standard streams is open to be written: it may hold what is not yet on disk."""
    gc.unfreeze()  # else frozen ones are not listed
    for item in gc.get_objects():
        if issubclass(type(item), _FILE) and not isinstance(item, _IN_MEMORY):
            try:
                if not item.closed and item.writable() and item.fileno() > 2:
                    return True
            except (OSError, ValueError):  # it has another place to write to, or gave its place to another object
                return True
    return False


_is_command = False


def begin() -> QuickEnd:
    """Say that this process is that of one command and ends with it; call it first."""
    global _is_command
    _is_command = True
    return QuickEnd()


@contextmanager
def heavy_imports() -> Iterator[None]:
    """Import within the block without garbage collection, and without packages that no run calls.

    Modules stay until the process ends. Where that is the process of one command, what they hold is left out of later
    collections, too, which otherwise look through half a million objects again and again.
    """
    # only now: it imports logging, which registers something for the process's end
    from fsbench.spared_imports import spared_imports

    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with spared_imports():
            yield
    finally:
        if _is_command:
            gc.freeze()
        if was_enabled:
            gc.enable()
