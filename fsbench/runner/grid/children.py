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
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from fsbench.base.environment import check_temporary_folder
from fsbench.base.errors import exit_status
from fsbench.base.files import fingerprint, make_folder, write_text
from fsbench.runner.config.merge import setting
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.machine.watchdog import changed_environment, child_environment, safe_imports

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from fsbench.runner.config.parse import ParsedRun

MODULES = ["fsbench.runner.grid.children", "wandb", "timm", "fsbench.runner.engine.run", "fsbench.datamodules.episodic"]
"""Modules that the server imports; they import the rest.

timm builds the backbones: each run would import it anew. It imports wandb where that is installed, whose classes look
through all modules that are there, many times: before torch that takes a third of the time.
"""

_PATH = tuple(sys.path)
"""Folders of modules of the server, which imports this; those of the command may begin with its working folder."""

context = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Job:
    """A run to be carried out, with its settings.

    Attributes:
        run: the run.
        log: file for its output; None for this process's standard error, in which case Ctrl-C also reaches the run.
        settings: all settings of the run if the parser has already checked them; else None.
    """

    run: RunConfig
    log: Path | None
    settings: "Namespace | None" = None

    @property
    def ranks(self) -> int:
        """Number of processes that the run is divided over."""
        devices = setting(self.run.values, "trainer.devices")
        return devices if isinstance(devices, int) else 1

    def parse(self, build: bool = True) -> "ParsedRun":
        """Return the run's parsed settings; with `build`, its method and data are built, too."""
        from fsbench.runner.config.parse import parse_judged  # with torch

        return self.run.parse(build) if self.settings is None else parse_judged(self.settings, build)

    def write_config(self) -> Path:
        """Write the run's settings to a YAML file for `fsbench bench --config`, named by a hash of its contents."""
        text = self.parse(build=False).config_text
        file = make_folder(Path(self.run.runs) / ".grid" / "configs") / f"{fingerprint(text)[:20]}.yaml"
        write_text(file, text)
        return file


def start_server() -> None:
    """Start the server process from which runs are forked, unless it is running; it ends with this process.

    Raises SettingsError if the path of the temporary folder is too long for the name of the server's socket.
    """
    check_temporary_folder()
    context.set_forkserver_preload(MODULES)
    with _apart():
        forkserver.ensure_running()


def start_run(*jobs: Job) -> BaseProcess:
    """Start a run on one device in a process that ends with this one.

    All output is appended to the run's log. With a log the run has its own session, so that Ctrl-C in a terminal
    reaches only this process.

    Args:
        *jobs: one run, or several without logs that are evaluated together. If one of several fails, the process ends
            with status 1, and the runs' own logs say why.
    """
    process = context.Process(target=_run, args=(jobs, dict(os.environ), Path.cwd()))
    context.set_forkserver_preload(MODULES)
    with _apart():
        process.start()
    return process


def start_command(config: Path, log: Path | None = None) -> "subprocess.Popen[bytes]":
    """Start `fsbench bench --config` with a settings file; its output goes to `log`, or to standard error if None."""
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


def _run(jobs: Sequence[Job], environment: dict[str, str], folder: Path) -> None:
    """Make runs and end this process, a fork, with their exit status."""
    from fsbench.runner.engine.run import run_parsed, run_together  # which the server has imported

    log = jobs[0].log
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
            if len(jobs) > 1:
                run_together(job.parse() for job in jobs)
            else:
                run_parsed(jobs[0].parse())
        except KeyboardInterrupt:
            if log is not None:
                raise
            return 130  # the command says it
        except Exception:
            if len(jobs) > 1:
                return 1  # what it was is in the runs' logs
            raise
        return 0

    sys.exit(exit_status(make, jobs[0].run.debug, below_bar=True, resumes=True))
