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
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from fsbench.base.errors import GOES_ON, SettingsError
from fsbench.base.files import read_text, write_text
from fsbench.runner.engine.machine.watchdog import changed_environment, describe_exit, safe_imports, sigterm_exits
from fsbench.runner.grid.children import Job, start_command, start_run


class Running(Protocol):
    """Protocol of a job that an executor has started."""

    def poll(self) -> int | None:
        """Return the exit status; None while the job runs."""

    def ending(self) -> str:
        """Return words for how the job ended, such as its exit status."""

    def stop(self) -> None:
        """Interrupt the job; finished episodes and epochs are kept."""


class Executor(Protocol):
    """Protocol of classes that start jobs (runs of a grid), at most `at_once` at a time."""

    at_once: int

    def start(self, jobs: Sequence[Job]) -> list[Running]: ...


class LocalProcesses:
    """Executor that carries out runs in processes of this machine."""

    def __init__(self, at_once: int):
        self.at_once = at_once

    def start(self, jobs: Sequence[Job]) -> list[Running]:
        _unlink_logs(jobs)
        return [start_process(job) for job in jobs]


def _unlink_logs(jobs: Sequence[Job]) -> None:
    """Remove what earlier starts of jobs printed."""
    for job in jobs:
        if job.log is not None:
            job.log.unlink(missing_ok=True)


def start_process(job: Job) -> "Process":
    """Start a run in a process of this machine."""
    if job.ranks == 1:
        return Process(start_run(job), is_apart=job.log is not None)
    # of several processes, Lightning starts the others by the command line of this one
    return Process(start_command(job.write_config(), job.log), is_apart=job.log is not None)


class Process:
    """A run in a process of this machine.

    Args:
        process: the operating-system process.
        is_apart: whether the process has its own session; if not, Ctrl-C in a terminal reaches it, too.
    """

    def __init__(self, process: "BaseProcess | subprocess.Popen[bytes]", is_apart: bool):
        self.process = process
        self.is_apart = is_apart

    def poll(self) -> int | None:
        """Return the exit status; None while the run is going on."""
        return self.process.poll() if isinstance(self.process, subprocess.Popen) else self.process.exitcode

    def ending(self) -> str:
        """Return words for how the process ended, such as "status 2" or "killed by SIGKILL"."""
        return _failed(self.poll() or 0)

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for the end of the process, at most `seconds`; return the exit status, None while it still runs."""
        if isinstance(self.process, subprocess.Popen):
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        else:
            self.process.join(seconds)
        return self.poll()

    def stop(self) -> None:
        """Stop the process if it runs; finished episodes and epochs are kept."""
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


def _failed(status: int) -> str:
    """Return how a run with an exit status ended, in words."""
    return f"failed ({describe_exit(status)})" + f"; {GOES_ON}" * (status < 0)


TIMEOUT_MIN = 24 * 60
"""Time limit of a job unless another is set, in minutes; submitit's own is five minutes."""

REQUEUED = 5
"""How often a run that is out of time goes on in the same job, each time for the whole limit."""

LISTS = ("slurm_srun_args", "slurm_setup", "slurm_teardown", "local_setup")
"""Parameters of submitit that are lists; a text is the only entry of one."""

SIGNAL_S = {"slurm": (90, 60), "local": (30, 0)}
"""Seconds before a job's limit at which submitit has it stopped, and by how many SLURM may do so too early."""

ENDS = {
    "BOOT_FAIL": f"failed (its node did not start); {GOES_ON}",
    "CANCELLED": f"failed (cancelled); {GOES_ON}",
    "DEADLINE": f"failed (out of time: its deadline); {GOES_ON}",
    "NODE_FAIL": f"failed (its node failed); {GOES_ON}",
    "OUT_OF_MEMORY": "failed (out of memory; --set mem_gb=<GB> asks SLURM for more)",
    "PREEMPTED": f"failed (preempted); {GOES_ON}",
    "TIMEOUT": f"failed (out of time: {{limit}}); {GOES_ON}",
}
"""States in which SLURM has ended a job, in words."""


class Submitit:
    """Executor that submits runs as jobs to a cluster, with the package submitit.

    Args:
        cluster: "slurm", or "local" for processes that submitit starts.
        folder: folder for submitit's scripts and logs, which all nodes can access.
        at_once: largest number of jobs of an array that run at the same time.
        parameters: {name: value} of submitit's parameters, such as slurm_partition, timeout_min, mem_gb, gpus_per_node.
    """

    def __init__(self, cluster: str, folder: Path, at_once: int, parameters: Mapping[str, Any]):
        # spared until it is needed
        import submitit

        self.cluster = cluster
        self.at_once = at_once if cluster == "local" else sys.maxsize  # SLURM itself holds an array's jobs back
        given = {"timeout_min": TIMEOUT_MIN} | dict(parameters)
        given |= {key: [given[key]] for key in LISTS if isinstance(given.get(key), str)}
        try:
            requeued = {f"{cluster}_max_num_timeout": REQUEUED}
            self.executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **requeued)
            if cluster == "slurm":
                self.executor.update_parameters(slurm_array_parallelism=at_once)
                # sites that export nothing (SBATCH_EXPORT=NONE), or requeue nothing (JobRequeue=0)
                given["slurm_srun_args"] = ["--export=ALL", *given.get("slurm_srun_args", [])]
                more = {"requeue": True} | given.get("slurm_additional_parameters", {})
                given["slurm_additional_parameters"] = more
                # needs submitit
                from fsbench.runner.grid.slurm_queue import choose_watcher

                choose_watcher()
            self.executor.update_parameters(**given)
        except (RuntimeError, TypeError, ValueError, NameError, AssertionError) as error:
            raise SettingsError(f"{cluster}: {' '.join(str(error).split())}") from error
        self.limit = _limit(cluster, given)
        asked = given.get("local_gpus_per_node", given.get("gpus_per_node"))
        self.variables = _visible_gpus(asked) if cluster == "local" else {}

    def start(self, jobs: Sequence[Job]) -> list[Running]:
        """Submit the jobs as job arrays, one array for each number of tasks per job.

        Without SLURM, Lightning starts the processes of a run itself.

        Returns:
            The started jobs, in the order of `jobs`.
        """
        tasks = [job.ranks if self.cluster == "slurm" else 1 for job in jobs]
        configs = [job.write_config() for job in jobs]
        started = self._queued(jobs, configs) if self.cluster == "slurm" else {}
        for number in sorted(set(tasks)):
            places = [place for place, count in enumerate(tasks) if count == number and place not in started]
            if places:
                array = self._array([jobs[place] for place in places], [configs[place] for place in places], number)
                started |= zip(places, array, strict=True)
        return [started[place] for place in range(len(jobs))]

    def _queued(self, jobs: Sequence[Job], configs: Sequence[Path]) -> dict[int, Running]:
        """Return the jobs that an earlier command submitted for the same runs and that wait, maybe requeued, or run."""
        from submitit import SlurmJob

        notes = {place: _note(config) for place, config in enumerate(configs)}
        noted: dict[int, Any] = {
            place: SlurmJob(self.executor.folder, read_text(note, "settings"))
            for place, note in notes.items()
            if note.is_file()
        }
        waiting = {place: job for place, job in noted.items() if not job.done() and job.state != "UNKNOWN"}
        return {place: _SubmititJob(job, jobs[place].log, self.limit) for place, job in waiting.items()}

    def _array(self, jobs: Sequence[Job], configs: Sequence[Path], tasks: int) -> list[Running]:
        """Start the jobs of one array. Jobs that the cluster refuses have failed, with its message in their logs."""
        _unlink_logs(jobs)
        self.executor.update_parameters(tasks_per_node=tasks)
        try:
            with changed_environment(safe_imports() | {"SBATCH_EXPORT": "ALL"}), self.executor.batch():  # for the jobs
                pairs = zip(jobs, configs, strict=True)
                started = [self.executor.submit(BenchCall(self.variables), config, job.log) for job, config in pairs]
        except (RuntimeError, OSError) as error:  # submitit's are RuntimeErrors
            for job in jobs:
                assert job.log is not None
                with job.log.open("a") as out:
                    out.write(f"{self.cluster} refused the job: {' '.join(str(error).split())}\n")
            return [_RefusedJob() for _ in jobs]
        for submitted, config in zip(started, configs, strict=True):
            write_text(_note(config), submitted.job_id)
        return [_SubmititJob(one.task(0), job.log, self.limit) for one, job in zip(started, jobs, strict=True)]


def _note(config: Path) -> Path:
    """Return the file with the number of the job that was submitted last for a run."""
    return config.with_suffix(".job")


def _limit(cluster: str, parameters: Mapping[str, Any]) -> str:
    """Return the time limit of a job in words. Raises SettingsError where a run would have no time in it."""
    key = next(key for key in (f"{cluster}_time", f"{cluster}_timeout_min", "timeout_min") if key in parameters)
    kept, early = SIGNAL_S[cluster]
    minutes, kept = parameters[key], parameters.get(f"{cluster}_signal_delay_s", kept)
    if not isinstance(minutes, int | float) or minutes * 60 < kept + early:
        raise SettingsError(
            f"{key} is {minutes}; expected a number of minutes, {-(-(kept + early) // 60)} or more: submitit stops a "
            f"run {kept} s before its limit" + f", and SLURM may do so {early} s too early" * (early > 0)
        )
    return f"{key}={minutes}, of which submitit keeps {kept} s"


def _visible_gpus(asked: int | None) -> dict[str, str | None]:
    """Return the variable by which a job on this machine sees the GPUs that the shell does, or the first `asked`.

    submitit's own hides all GPUs where no number is asked for, and counts from 0 whatever the shell names.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is None:
        return {"CUDA_VISIBLE_DEVICES": named}
    return {} if named is None else {"CUDA_VISIBLE_DEVICES": ",".join(named.split(",")[:asked])}


class BenchCall:
    """Call of `fsbench bench --config` in a submitit job; a job that runs out of time is requeued and resumes.

    Args:
        variables: {environment variable: value} for the run; None removes a variable.
    """

    def __init__(self, variables: Mapping[str, str | None]):
        self.variables = variables
        self.process: Process | None = None

    def __call__(self, config: Path, log: Path) -> int:
        """Make the run, whose output goes to `log`, and return its exit status.

        Where SLURM ends the job (SIGTERM), this process ends without one: the job may have been requeued.
        """
        for name, value in self.variables.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})  # all processes of a job get it; this one ends them
        self.process = Process(start_command(config, log), is_apart=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        with sigterm_exits():
            try:
                while (status := self.process.wait(1)) is None:  # not at once: `checkpoint` waits for it, too
                    pass
            finally:
                self.process.stop()
        return status

    def checkpoint(self, config: Path, log: Path) -> Any:
        """Stop the run and return the call that continues it, for submitit."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            self.process.stop()
        return DelayedSubmission(BenchCall(self.variables), config, log)


class _RefusedJob:
    """A job that never began."""

    def poll(self) -> int:
        return 1

    def ending(self) -> str:
        return "was refused"

    def stop(self) -> None:
        pass


class _SubmititJob:
    """A job of submitit, by the first of its tasks, which ends last.

    Args:
        job: the task.
        log: of the run.
        limit: the job's time limit in words.
    """

    def __init__(self, job: Any, log: Path | None, limit: str):
        self.job = job
        self.log = log
        self.limit = limit
        self.how = ""

    def poll(self) -> int | None:
        """Return the exit status, or None while it waits or runs; also in a job that SLURM has requeued."""
        if not self.job.done():
            return None
        state = self.job.state.partition(" ")[0]  # sacct adds by whom a job was cancelled
        if state not in ENDS or self.job.paths.result_pickle.exists():
            error = self.job.exception()  # after some seconds where a shared disk may show a result late
            if error is None:
                status: int = self.job.result()
                self.how = _failed(status)
                return status
            if "Job not requeued" in str(error) or "'requeue'" in str(error):  # too often already, or not allowed
                state = "TIMEOUT"
        unknown = f"failed (job {self.job.job_id} ended without a result)"
        self.how = ENDS.get(state, unknown).format(limit=self.limit)
        assert self.log is not None
        if not self.log.is_file() or not self.log.stat().st_size:
            self.log.write_text(self.job.stderr() or "")
        return 1

    def ending(self) -> str:
        return self.how

    def stop(self) -> None:
        self.job.cancel()
