"""Make the runs of one table: a grid with one worker, whose runs print where the command does."""

import os
from collections.abc import Sequence
from pathlib import Path

from fsbench.base.errors import GOES_ON, SettingsError
from fsbench.base.files import make_folder
from fsbench.base.terminal import print_progress
from fsbench.records.record import Record
from fsbench.runner.config.compose import asks
from fsbench.runner.config.request import DEFAULT_PROTOCOL, NOTHING_NAMED, Request
from fsbench.runner.engine.machine.watchdog import describe_exit
from fsbench.runner.grid.executors import LocalProcesses
from fsbench.runner.grid.plan import PlannedRun, Planner, finished_record, run_folder
from fsbench.runner.grid.run import run_missing
from fsbench.runner.grid.spec import request_cells


def bench(*requests: Request) -> tuple[list[Record], list[str]]:
    """Make the runs of requests that have no record yet, one after the other.

    Every run is checked before the first one starts. Each is a process of its own, which keeps its peak memory honest
    and its failure its own.

    Args:
        requests: one for each protocol, where several are asked for; of one folder of runs.

    Returns:
        The records of all runs that are done, and a message about each that failed.

    Raises:
        FsbenchError: the settings of a run do not fit.
        KeyboardInterrupt: the process was interrupted.
    """
    if not all(request.methods and request.folds for request in requests):
        raise SettingsError(NOTHING_NAMED)
    first = requests[0]
    if asks(first.extra):
        # with torch, which the command otherwise leaves to forks
        from fsbench.runner.config.build import parse_configuration

        # shows it, of the first run, and ends the command
        parse_configuration(first.configuration(first.methods[0], first.folds[0]))
    runs = make_folder(Path(first.runs))
    planned = plan_requests(requests)
    if len(planned) > 1 and "WANDB_SWEEP_ID" in os.environ and (os.environ.get("WANDB") or "off") != "off":
        raise SettingsError(
            f"an agent of a sweep calls for {len(planned)} runs at once, and W&B would keep the score of the last; "
            "expected one, of one fold: a sweep over folds has no metric, and fsbench table has the mean over them"
        )
    if protocols := describe_protocols(*requests):
        print_progress(protocols)
    for note in dict.fromkeys(note for request in requests for note in request.notes()):
        print_progress(note)
    display = _NumberedLines(planned, names_protocol=len(requests) > 1)
    failed = {id(failure.item): failure for failure in run_missing(planned, runs, LocalProcesses(1), display, True)}
    records, failures = [], []
    for item in planned:
        if failure := failed.get(id(item)):
            hint = f"; {GOES_ON}" if failure.status < 0 else ""
            status, log = describe_exit(failure.status), f"{item.folder}/run.log"
            failures.append(f"{display.label(item)} failed ({status}){hint}; its log is {log}")
        elif item.folder is not None and (record := finished_record(item.folder)):
            records.append(record)
    return records, failures


def plan_requests(requests: Sequence[Request]) -> list[PlannedRun]:
    """Look up and check every run of requests on this machine, without building its frozen network.

    Raises FsbenchError for the first that cannot be made.
    """
    planner = Planner(Path(requests[0].runs), recheck=True, takes_notes=False)
    planned = []
    for cell in (cell for request in requests for cell in request_cells(request)):
        item = planner.look_up(cell, on_this_machine=True)
        if item.lacks:  # its classes say more, of a backbone that the method does not take, say
            run_folder(cell, planner.runs, takes_notes=False)
        if item.obstacle:
            raise item.error or SettingsError(item.obstacle)
        planned.append(item)
    return planned


class _NumberedLines:
    """A numbered line for each run of a plan, before it starts."""

    def __init__(self, planned: Sequence[PlannedRun], names_protocol: bool):
        self.planned = planned
        self.names_protocol = names_protocol

    def label(self, item: PlannedRun) -> str:
        number = next(number for number, other in enumerate(self.planned, 1) if other is item)
        request = item.cell.request
        protocol = f", {request.protocol}" * self.names_protocol
        words = f"{request.methods[0]} on {request.dataset}, fold {item.cell.fold}{protocol}"
        return f"[{number}/{len(self.planned)}] {words}"

    def skip(self, item: PlannedRun) -> None:
        print_progress(f"{self.label(item)}: found {item.folder}")

    def begin(self, item: PlannedRun) -> None:
        print_progress(f"{self.label(item)}: runs in {item.folder}")

    def update(self) -> None:
        pass

    def end(self, item: PlannedRun, failed: bool) -> None:
        pass

    def close(self) -> None:
        pass


def describe_protocols(request: Request, *others: Request) -> str:
    """Return one line on the protocols of requests: the several asked for, or those that methods take by themselves.

    It is empty where one was asked for, and where all take fscs, the suite's own.
    """
    if others:
        asked = dict.fromkeys(str(each.protocol) for each in (request, *others))
        return f"protocols: {', '.join(asked)}; each has a table, and one has them side by side"
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
