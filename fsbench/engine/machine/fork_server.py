"""Cells of one command, forked from a process that has imported the suite: the start of torch and Lightning is shared.

Each is a process of its own all the same, with its own memory, log and exit status. The *fork server* is a process
between the command and its cells that imports, forks, and does nothing else: it has one thread and no CUDA, so that a
fork of it is whole. It ends with the command, and its cells end with it (`fsbench.engine.machine.watchdog`).
"""

import atexit
import gc
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe, get_context, set_start_method
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from fsbench.engine.machine.watchdog import PARENT, child_environment, safe_imports
from fsbench.process import heavy_imports

STDERR = 2  # the file descriptor
PROGRAM = "fsbench.cli.main"
PRELOADED = (
    PROGRAM, "fsbench.config.build", "fsbench.engine.experiment", "fsbench.engine.run",
    "fsbench.backbones.timm_networks", "datamodules.episodic", "datamodules.classification",
)  # fmt: skip
"""Modules that every cell imports. Not polars, which starts threads, and nothing that only some of them need: what a
cell records of its memory counts all of these, and must not depend on the cells before it."""
POLL_SECONDS = 0.1


def can_fork() -> bool:
    """Return whether cells may be forks of a process that has imported torch.

    Not outside Linux, in jobs of SLURM, beside torchrun or W&B, whose processes belong to one run each, and not where
    there is a GPU.
    """
    # No machine with a GPU was at hand to see that nothing touches its driver before a fork.
    has_gpu = any(Path(file).exists() for file in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg"))
    belongs_to_one = any(name in os.environ for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "WORLD_SIZE", "LOCAL_RANK"))
    tracked = (os.environ.get("WANDB") or "off") != "off"
    return sys.platform == "linux" and not (has_gpu or belongs_to_one or tracked)


def forks_whole() -> bool:
    """Return whether a fork of this process has all of its threads, which is the one that calls this.

    The linear algebra of numpy and scipy ends its threads before a fork; others would be missing in the child.
    """
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return len(list(Path("/proc/self/task").iterdir())) == 1


class ForkServer:
    """The command's end of a fork server, which ends with this object: closed, as by a context manager, or let go.

    Args:
        process: id of the server's process, a child of this one.
        connection: to it.
    """

    def __init__(self, process: int, connection: Connection):
        self.process, self._connection = process, connection
        self._statuses: dict[int, int] = {}
        self._serves = False
        self._count = 0
        self._end = weakref.finalize(self, _end, process, connection)

    @classmethod
    def forked(cls) -> "ForkServer | None":
        """Return a server that is a fork of this process; None where it would not be whole."""
        if not (can_fork() and forks_whole()):
            return None
        ours, theirs = Pipe()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # as it is where the shell closed it
                stream.flush()  # else every cell writes it, too
        process = os.fork()
        if not process:
            try:
                ours.close()
                _serve(theirs)
            finally:
                os._exit(1)
        theirs.close()
        return cls(process, ours)

    @classmethod
    def spawned(cls) -> "ForkServer | None":
        """Return a server that is a process from nothing, in a session of its own; None where no process may fork."""
        if not can_fork():
            return None
        ours, theirs = Pipe()
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, env=child_environment(), pass_fds=[theirs.fileno()],
            start_new_session=True,
        )  # fmt: skip
        process.returncode = 0  # `close` waits for it
        theirs.close()
        return cls(process.pid, ours)

    def start(self, arguments: Sequence[str], log: Path | None = None) -> "ForkedCell":
        """Start `fsbench` with `arguments` in a fork.

        Args:
            arguments: of the command line.
            log: file that all its output is appended to, in a session of its own; None for this process's standard
                error.
        """
        number, self._count = self._count, self._count + 1
        environment = {key: value for key, value in child_environment().items() if key != PARENT}
        request = {"arguments": list(arguments), "log": log and str(log.absolute()), "environment": environment}
        self._send({"start": number, **request, "folder": str(Path.cwd())})
        return ForkedCell(self, number)

    def status(self, number: int, timeout: float = 0) -> int | None:
        """Return a cell's exit status, waiting for it up to `timeout` seconds; None while it runs.

        Where the server is gone, its cells are: they count as killed.
        """
        end = time.monotonic() + timeout
        while number not in self._statuses:
            left = max(end - time.monotonic(), 0)
            try:
                if not self._connection.poll(left):
                    return None
                self._take(json.loads(self._connection.recv_bytes()))
            except (EOFError, OSError):
                return -signal.SIGKILL
        return self._statuses[number]

    def _take(self, message: Mapping[str, int]) -> None:
        if "status" in message:
            self._statuses[message["cell"]] = message["status"]
        else:
            self._serves = True

    def signal(self, number: int, sent: int) -> None:
        """Send a signal to a cell, and to its session if it has one. One that has yet to start gets it first of all.

        While the server still imports it has no cells, and is ended: then none starts.
        """
        if self.status(number) is None and not self._serves:
            os.kill(self.process, signal.SIGKILL)
        else:
            self._send({"signal": sent, "cell": number})

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self._connection.send_bytes(json.dumps(message).encode())
        except OSError:
            return  # the server is gone, as `status` tells

    def close(self) -> None:
        """End the server; cells that still run end with it."""
        self._end()

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class ForkedCell:
    """A started cell, with the methods of `subprocess.Popen` that its users need."""

    def __init__(self, server: ForkServer, number: int):
        self.server, self.number = server, number

    def poll(self) -> int | None:
        return self.server.status(self.number)

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while end is None or time.monotonic() < end:
            status = self.server.status(self.number, 1.0 if end is None else max(end - time.monotonic(), 0))
            if status is not None:
                return status
        raise subprocess.TimeoutExpired("fsbench run", timeout or 0)

    def send_signal(self, sent: int) -> None:
        self.server.signal(self.number, sent)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _end(server: int, connection: Connection) -> None:
    connection.close()
    try:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
    except (ChildProcessError, ProcessLookupError):
        return  # it was waited for


def _serve(connection: Connection) -> None:
    """Fork a cell for every request, and tell how each ended, until the other end closes; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # in a terminal it reaches the command, which ends the cells
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # it waits for a new cell until that can take it
    with heavy_imports():
        for name in PRELOADED:
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else the children's first collection copies all of it
    is_whole = forks_whole()
    cells: dict[int, tuple[ForkProcess, bool]] = {}
    while True:
        # Another program that a cell became has no sentinel, and processes that a cell started keep theirs: so it polls
        sentinels = [cell.sentinel for cell, _ in cells.values()] if is_whole else []
        if connection in wait([connection, *sentinels], POLL_SECONDS if cells else None):
            try:
                message = json.loads(connection.recv_bytes())
            except (EOFError, OSError):
                os._exit(0)
            if "start" in message:
                number = message["start"]
                told = (connection, message, is_whole, os.getpid())
                cell = get_context("fork").Process(target=_become_cell, args=told)
                cell.start()
                cells[number] = cell, message["log"] is not None
                _tell(connection, {"cell": number})
            elif message["cell"] in cells:
                _pass_on(*cells[message["cell"]], message["signal"])
        for number, (cell, _) in list(cells.items()):
            if cell.exitcode is not None:
                _tell(connection, {"cell": number, "status": cell.exitcode})
                cells.pop(number)[0].close()


def _tell(connection: Connection, message: Mapping[str, int]) -> None:
    try:
        connection.send_bytes(json.dumps(message).encode())
    except OSError:
        os._exit(0)  # the command is gone


def _pass_on(cell: ForkProcess, has_session: bool, sent: int) -> None:
    """Send a signal to a cell, which is not yet waited for: its id is no other process's."""
    if cell.exitcode is not None or cell.pid is None:
        return
    try:
        (os.killpg if has_session else os.kill)(cell.pid, sent)
    except ProcessLookupError:  # it has yet to make its session
        os.kill(cell.pid, sent)


def _become_cell(connection: Connection, request: Mapping[str, Any], is_whole: bool, server: int) -> None:
    """Run the command of a request as this process; raises SystemExit with its status."""
    connection.close()
    if request["log"] is not None:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()
    # what was registered before is the server's, and what the cell registers must run
    atexit._clear()
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
    set_start_method(None, force=True)  # loaders start their processes as ever, and not as this one was
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update({**request["environment"], PARENT: str(server)})
    kept = safe_imports()["PYTHONPATH"].split(os.pathsep)
    sys.path[:] = [folder for folder in sys.path if folder in kept or folder not in ("", request["folder"])]
    if request["log"] is None:
        os.dup2(STDERR, 1)  # progress is no output: the table alone is
    else:
        out = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(out, 1)
        os.dup2(out, STDERR)
        os.close(out)
    arguments = request["arguments"]
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if not is_whole:
            os.execv(sys.executable, [sys.executable, "-m", "fsbench", *arguments])
        sys.argv = ["fsbench", *arguments]
        sys.exit(importlib.import_module(PROGRAM).main(arguments))
    except KeyboardInterrupt:  # before the command could take it
        sys.exit(130)
    finally:
        atexit._run_exitfuncs()
        logging.shutdown()


if __name__ == "__main__":
    os.environ.pop(PARENT, None)
    _serve(Connection(int(sys.argv[1])))
