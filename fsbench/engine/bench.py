"""Run several experiments for one table: see what is done, and run the rest in processes of their own.

A process for each experiment keeps its peak memory honest and its failure its own.
"""

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from fsbench.config.compose import parse
from fsbench.config.request import DEFAULT_PROTOCOL, NOTHING_NAMED, Request
from fsbench.engine.experiment import Experiment
from fsbench.engine.machine.check import check_machine
from fsbench.engine.machine.watchdog import child_environment, describe_exit, sigterm_exits
from fsbench.errors import GOES_ON, SettingsError
from fsbench.files import make_folder
from fsbench.records.record import Record, read_record
from fsbench.terminal import print_progress

STDERR = 2  # the file descriptor


@dataclass(frozen=True)
class _Job:
    """One experiment of a request: its arguments for `fsbench run`, its folder, and whether its record exists."""

    label: str
    arguments: list[str]
    folder: Path
    is_done: bool


def bench(request: Request) -> tuple[list[Record], list[str]]:
    """Run the experiments of a request that have no record yet, one after the other.

    Every experiment is checked before the first one starts.

    Returns:
        The records of all experiments that are done, and a message about each that failed.

    Raises:
        FsbenchError: the settings of an experiment do not fit.
        KeyboardInterrupt: the process was interrupted.
    """
    if not (request.methods and request.folds):
        raise SettingsError(NOTHING_NAMED)
    make_folder(Path(request.runs))
    records, failures = [], []
    jobs = _jobs(request)
    protocols = describe_protocols(request)
    if protocols:
        print_progress(protocols)
    for number, job in enumerate(jobs, 1):
        label = f"[{number}/{len(jobs)}] {job.label}"
        print_progress(f"{label}: {'found' if job.is_done else 'runs in'} {job.folder}")
        status = 0 if job.is_done else _run_in_process(job.arguments, request.debug)
        record = read_record(job.folder)
        if status or record is None:
            hint = f"; {GOES_ON}" if status < 0 else ""
            failures.append(f"{label} failed ({describe_exit(status)}){hint}; its log is {job.folder / 'run.log'}")
        else:
            records.append(record)
    return records, failures


def _jobs(request: Request) -> list[_Job]:
    """Check every combination of method and fold and look its record up, without building its frozen network."""
    jobs = []
    for method in dict.fromkeys(request.methods):
        for fold in dict.fromkeys(request.folds):
            arguments = request.arguments(method, fold)
            experiment = Experiment(parse(arguments))
            check_machine(experiment.trainer_settings)
            label = f"{method} on {request.dataset}, fold {fold}"
            jobs.append(_Job(label, arguments, experiment.folder, experiment.is_done))
    return jobs


def describe_protocols(request: Request) -> str:
    """Return one line on the protocols that the methods of a request take by themselves.

    It is empty where one was asked for, and where all take fscs, the suite's own.
    """
    methods: dict[str, list[str]] = {}
    for method in dict.fromkeys(request.methods):
        protocol = request.own_protocol(method)
        if protocol is not None:
            methods.setdefault(protocol, []).append(method)
    if not methods.keys() - {DEFAULT_PROTOCOL}:
        return ""
    taken = "; ".join(f"{protocol} for {', '.join(names)}" for protocol, names in methods.items())
    apart = "a table compares within one protocol; " if len(methods) > 1 else ""
    return f"protocol, by default: {taken} ({apart}PROTOCOL=<name> sets one for all)"


def _run_in_process(arguments: list[str], debug: bool) -> int:
    """Run `fsbench run` in a child process, wait for it, and return its exit status.

    The child ends when this process is interrupted or killed. Its progress goes to the standard error, since the table
    alone is output.
    """
    command = [sys.executable, "-m", "fsbench", *(["--debug"] if debug else []), "run", *arguments]
    child = subprocess.Popen(command, stdout=STDERR, env=child_environment())
    with sigterm_exits():
        try:
            return child.wait()
        except SystemExit:
            child.terminate()
            raise
        except KeyboardInterrupt:
            try:
                child.wait(timeout=3)  # Ctrl-C in a terminal reached it as well
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGINT)
                child.wait()
            raise
