"""Run several experiments for one table: see what is done, and run the rest in processes of their own.

A process for each experiment keeps its peak memory honest and its failure its own.
"""

import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fsbench.config.build import parse
from fsbench.config.request import DEFAULT_PROTOCOL, NOTHING_NAMED, Request
from fsbench.engine.experiment import Experiment
from fsbench.engine.machine.check import check_machine
from fsbench.engine.machine.run_process import start_run
from fsbench.engine.machine.watchdog import describe_exit, sigterm_exits
from fsbench.errors import GOES_ON, SettingsError
from fsbench.files import make_folder
from fsbench.records.record import Record, read_record
from fsbench.terminal import print_progress


@dataclass(frozen=True)
class _Job:
    """One experiment of a request: its arguments for `fsbench run`, number of processes, folder, whether its record
    exists, and whether its errors are shown with their tracebacks."""

    label: str
    arguments: list[str]
    processes: int
    folder: Path
    is_done: bool
    debug: bool


def bench(*requests: Request) -> tuple[list[Record], list[str]]:
    """Run the experiments of requests that have no record yet, one after the other.

    Every experiment is checked before the first one starts.

    Args:
        requests: one for each protocol, where several are asked for.

    Returns:
        The records of all experiments that are done, and a message about each that failed.

    Raises:
        FsbenchError: the settings of an experiment do not fit.
        KeyboardInterrupt: the process was interrupted.
    """
    if not all(request.methods and request.folds for request in requests):
        raise SettingsError(NOTHING_NAMED)
    for request in requests:
        make_folder(Path(request.runs))
    records, failures = [], []
    jobs = [job for request in requests for job in _jobs(request, names_protocol=len(requests) > 1)]
    if protocols := describe_protocols(*requests):
        print_progress(protocols)
    for number, job in enumerate(jobs, 1):
        label = f"[{number}/{len(jobs)}] {job.label}"
        print_progress(f"{label}: {'found' if job.is_done else 'runs in'} {job.folder}")
        status = 0 if job.is_done else _run_in_process(job)
        record = read_record(job.folder)
        if status or record is None:
            hint = f"; {GOES_ON}" if status < 0 else ""
            failures.append(f"{label} failed ({describe_exit(status)}){hint}; its log is {job.folder / 'run.log'}")
        else:
            records.append(record)
    return records, failures


def _jobs(request: Request, names_protocol: bool = False) -> list[_Job]:
    """Check every combination of method and fold and look its record up, without building its frozen network.

    Args:
        request: the combinations.
        names_protocol: the jobs' labels name the request's protocol.
    """
    jobs = []
    for method in dict.fromkeys(request.methods):
        for fold in dict.fromkeys(request.folds):
            arguments = request.arguments(method, fold)
            experiment = Experiment(parse(arguments))
            check_machine(experiment.trainer_settings)
            label = f"{method} on {request.dataset}, fold {fold}" + f", {request.protocol}" * names_protocol
            folder, is_done = experiment.folder, experiment.is_done
            jobs.append(_Job(label, arguments, experiment.processes, folder, is_done, request.debug))
    return jobs


def describe_protocols(request: Request, *others: Request) -> str:
    """Return one line on the protocols of requests: the several asked for, or those that methods take by themselves.

    It is empty where one was asked for, and where all take fscs, the suite's own.
    """
    if others:
        asked = dict.fromkeys(str(each.protocol) for each in (request, *others))
        return f"protocols: {', '.join(asked)}; the table has a block for each"
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


def _run_in_process(job: _Job) -> int:
    """Run `fsbench run` in a process of its own, wait for it, and return its exit status.

    The process ends when this one is interrupted or killed. Its progress goes to the standard error, since the table
    alone is output.
    """
    child = start_run([*(["--debug"] if job.debug else []), "run", *job.arguments])
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
