"""Executors make runs, in processes of this machine or as jobs of submitit (SLURM, or a stand-in).

A run is a process of its own either way, so that its memory is its own and its failure, too. It ends when the process
that started it does (of a job, the job's: SLURM's jobs go on without the grid). With several devices on SLURM every
task of the job is one rank, as Lightning's own SLURM support wants it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from fsbench.base.errors import SettingsError
from fsbench.base.files import fingerprint, make_folder, write_text
from fsbench.runner.config.merge import setting
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.machine.watchdog import changed_environment, child_environment, safe_imports
from fsbench.runner.grid.children import start_command, start_run


@dataclass(frozen=True)
class Job:
    """A run to be made.

    Attributes:
        run: the run.
        log: where its output goes; None for this process's standard error, where Ctrl-C reaches the run as well.
    """

    run: RunConfig
    log: Path | None

    @property
    def ranks(self) -> int:
        """Number of the run's processes."""
        devices = setting(self.run.values, "trainer.devices")
        return devices if isinstance(devices, int) else 1

    def write_config(self) -> Path:
        """Write all settings of the run to a file of `fsbench bench --config`, named by its contents."""
        text = self.run.parse(build=False).config_text
        file = make_folder(Path(self.run.runs) / ".grid" / "configs") / f"{fingerprint(text)[:20]}.yaml"
        write_text(file, text)
        return file


class Running(Protocol):
    """A started job."""

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""

    def stop(self) -> None:
        """Interrupt the job; finished episodes and epochs are kept."""


class Executor(Protocol):
    """Starts jobs, at most `at_once` at a time."""

    at_once: int

    def start(self, jobs: Sequence[Job]) -> list[Running]: ...


class LocalProcesses:
    """Makes runs in processes of this machine."""

    def __init__(self, at_once: int):
        self.at_once = at_once

    def start(self, jobs: Sequence[Job]) -> list[Running]:
        return [start_process(job) for job in jobs]


def start_process(job: Job) -> "Process":
    """Start a run in a process of this machine."""
    if job.ranks == 1:
        return Process(start_run(job.run, log=job.log), is_apart=job.log is not None)
    # of several processes, Lightning starts the others by the command line of this one
    return Process(start_command(job.write_config(), job.log), is_apart=job.log is not None)


class Process:
    """A run in a process of this machine.

    Args:
        process: its process.
        is_apart: whether it has a session of its own. Else Ctrl-C in a terminal reaches it as well.
    """

    def __init__(self, process: "BaseProcess | subprocess.Popen[bytes]", is_apart: bool):
        self.process = process
        self.is_apart = is_apart

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self.process.poll() if isinstance(self.process, subprocess.Popen) else self.process.exitcode

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for its end, or no longer than some seconds; return the exit status, or None while it runs."""
        if isinstance(self.process, subprocess.Popen):
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        else:
            self.process.join(seconds)
        return self.poll()

    def stop(self) -> None:
        """End the process, unless it has ended: finished episodes and epochs are kept."""
        if self.poll() is not None or (not self.is_apart and self.wait(3) is not None):
            return
        for seconds in (3, 27) if self.is_apart else (None,):  # twice: a run that has just started hears none
            self._send(signal.SIGINT)
            if self.wait(seconds) is not None:
                return
        self._send(signal.SIGKILL)
        self.wait()

    def _send(self, number: int) -> None:
        """Send a signal to the run, and to the processes of its session if it has one by now."""
        process = self.process.pid
        assert process is not None
        with suppress(ProcessLookupError):
            if self.is_apart and os.getsid(process) == process:
                os.killpg(process, number)
            else:
                os.kill(process, number)


TIMEOUT_MIN = 24 * 60
"""Time limit of a job unless another is set, in minutes; submitit's own is five minutes."""


class Submitit:
    """Makes runs through submitit.

    Args:
        cluster: "slurm", or "local" for processes that submitit starts.
        folder: of submitit's scripts and logs, visible to all nodes.
        at_once: jobs of an array that run at a time.
        parameters: of submitit, e.g. slurm_partition, timeout_min, mem_gb, gpus_per_node.
    """

    def __init__(self, cluster: str, folder: Path, at_once: int, parameters: Mapping[str, Any]):
        # spared until it is needed
        import submitit

        self.cluster = cluster
        self.at_once = at_once if cluster == "local" else sys.maxsize  # SLURM itself holds an array's jobs back
        try:
            self.executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
            self.executor.update_parameters(**{"timeout_min": TIMEOUT_MIN} | dict(parameters))
            if cluster == "slurm":
                self.executor.update_parameters(slurm_array_parallelism=at_once)
                # needs submitit
                from fsbench.runner.grid.slurm_queue import choose_watcher

                choose_watcher()
        except (RuntimeError, TypeError, ValueError, NameError, AssertionError) as error:
            raise SettingsError(f"{cluster}: {' '.join(str(error).split())}") from error

    def start(self, jobs: Sequence[Job]) -> list[Running]:
        """Start one array for each number of tasks, which all jobs of an array share.

        Without SLURM, Lightning starts the ranks itself.
        """
        tasks = [job.ranks if self.cluster == "slurm" else 1 for job in jobs]
        started: dict[int, Running] = {}
        for number in sorted(set(tasks)):
            places = [place for place, count in enumerate(tasks) if count == number]
            started |= zip(places, self._array([jobs[place] for place in places], number), strict=True)
        return [started[place] for place in range(len(jobs))]

    def _array(self, jobs: Sequence[Job], tasks: int) -> list[Running]:
        """Start the jobs of one array. Jobs that the cluster refuses have failed, with its message in their logs."""
        self.executor.update_parameters(tasks_per_node=tasks)
        configs = [job.write_config() for job in jobs]
        try:
            with changed_environment(safe_imports()), self.executor.batch():  # which the job's processes inherit
                pairs = zip(jobs, configs, strict=True)
                started = [self.executor.submit(call_bench, config, job.log) for job, config in pairs]
        except (RuntimeError, OSError) as error:  # submitit's are RuntimeErrors
            for job in jobs:
                assert job.log is not None
                with job.log.open("a") as out:
                    out.write(f"{self.cluster} refused the job: {' '.join(str(error).split())}\n")
            return [_RefusedJob() for _ in jobs]
        return [_SubmititJob(job) for job in started]


def call_bench(config: Path, log: Path) -> int:
    """Call `fsbench bench --config` in a process of its own, whose output goes to `log`; return the exit status."""
    with log.open("a") as out:
        command = [sys.executable, "-m", "fsbench", "bench", f"--config={config}"]
        return subprocess.run(command, stdout=out, stderr=out, env=child_environment(), check=False).returncode


class _RefusedJob:
    """A job that never began."""

    def poll(self) -> int:
        return 1

    def stop(self) -> None:
        pass


class _SubmititJob:
    def __init__(self, job: Any):
        self.job = job

    def poll(self) -> int | None:
        if not self.job.done():
            return None
        if self.job.exception() is not None:  # the job itself: killed, out of time, no node
            return 1
        return max(map(abs, self.job.results()))

    def stop(self) -> None:
        self.job.cancel()
