"""A run in a process of its own, which keeps its memory and its failure its own.

On one device it is forked from the standard library's fork server, which has imported what runs need, once for all runs
of a command; the server only imports, so that no thread that computes and no GPU is lost by a fork. On several devices
it is a `fsbench bench --config`, which Lightning starts again for each rank.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

from fsbench.base.environment import check_temporary_folder
from fsbench.base.errors import exit_status
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.machine.watchdog import changed_environment, child_environment, safe_imports

MODULES = ["fsbench.runner.grid.children", "fsbench.runner.engine.run", "fsbench.datamodules.episodic"]
"""Modules that the server imports; they import the rest."""

_PATH = tuple(sys.path)
"""Folders of modules of the server, which imports this; those of the command may begin with its working folder."""

context = multiprocessing.get_context("forkserver")


def start_server() -> None:
    """Let the fork server begin to import, unless it has begun. It ends with the last of this process and its forks.

    Raises SettingsError where the folder of temporary files has no room for the name of its socket.
    """
    check_temporary_folder()
    context.set_forkserver_preload(MODULES)
    with _apart():
        forkserver.ensure_running()


def start_run(*runs: RunConfig, log: Path | None = None) -> BaseProcess:
    """Start a run on one device in a process that ends when this one does, however that happens.

    Args:
        *runs: the run; or several that are evaluated together. Where one of these fails, the process ends with status
            1, and the runs' logs say why.
        log: file that all its output is appended to. Then it has a session of its own: Ctrl-C in a terminal reaches
            this process alone. None for this process's standard error, since progress is no output.
    """
    process = context.Process(target=_run, args=(runs, log, dict(os.environ), Path.cwd()))
    context.set_forkserver_preload(MODULES)
    with _apart():
        process.start()
    return process


def start_command(config: Path, log: Path | None = None) -> "subprocess.Popen[bytes]":
    """Start `fsbench bench --config` with a file of settings; `log` is that of `start_run`."""
    command = [sys.executable, "-m", "fsbench", "bench", f"--config={config}"]
    if log is None:
        return subprocess.Popen(command, stdout=sys.__stderr__, env=child_environment())
    with log.open("a") as out:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=child_environment(), start_new_session=True
        )


@contextmanager
def _apart() -> Iterator[None]:
    """Start what the block starts with safe imports and without Ctrl-C, which would reach the server amid an import."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with changed_environment(safe_imports()):
            yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _run(configs: Sequence[RunConfig], log: Path | None, environment: dict[str, str], folder: Path) -> None:
    """Make runs and end this process, a fork, with their exit status."""
    from fsbench.runner.engine.run import run, run_together  # which the server has imported

    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:] = _PATH
    multiprocessing.set_start_method("fork", force=True)  # of loaders' workers; it is the server's here
    if log is None:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    else:
        os.setsid()
        with log.open("a") as out:
            os.dup2(out.fileno(), sys.stdout.fileno())
            os.dup2(out.fileno(), sys.stderr.fileno())

    def make() -> int:
        try:
            if len(configs) > 1:
                run_together(configs)
            else:
                run(configs[0])
        except KeyboardInterrupt:
            if log is not None:
                raise
            return 130  # the command says it
        except Exception:
            if len(configs) > 1:
                return 1  # what it was is in the runs' logs
            raise
        return 0

    sys.exit(exit_status(make, configs[0].debug, below_bar=True, resumes=True))
