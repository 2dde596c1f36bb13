"""Make the runs of one table: a grid with one worker, whose runs print where the command does."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fsbench.base.errors import GOES_ON, SettingsError
from fsbench.base.files import make_folder
from fsbench.base.terminal import print_progress
from fsbench.records.record import Record
from fsbench.records.run_directory import is_held
from fsbench.runner.config.run_config import DEFAULT_PROTOCOL, RunConfig
from fsbench.runner.engine.machine.watchdog import describe_exit
from fsbench.runner.grid.executors import Job, LocalProcesses
from fsbench.runner.grid.plan import PlannedRun, Planner, finished_record, run_folder
from fsbench.runner.grid.run import POLL_SECONDS, Failure, run_missing


def bench(runs: Sequence[RunConfig]) -> tuple[list[Record], list[str]]:
    """Make the runs that have no record yet, one after the other, and wait for those that another process makes.

    Every run is checked before the first one starts. Each is a process of its own, which keeps its peak memory honest
    and its failure its own.

    Args:
        runs: the runs, of one folder of runs.

    Returns:
        The records of all runs that are done, and a message about each that failed.

    Raises:
        FsbenchError: the settings of a run do not fit.
        KeyboardInterrupt: the process was interrupted.
    """
    planned = plan_runs(runs)
    folder = make_folder(Path(runs[0].runs))
    if len(planned) > 1 and "WANDB_SWEEP_ID" in os.environ and (os.environ.get("WANDB") or "off") != "off":
        raise SettingsError(
            f"an agent of a sweep calls for {len(planned)} runs at once, and W&B would keep the score of the last; "
            "expected one, of one fold: a sweep over folds has no metric, and fsbench table has the mean over them"
        )
    for note in dict.fromkeys([protocol_words(runs), *(run.backbone_note for run in runs)]):
        if note:
            print_progress(note)
    display = _NumberedLines(planned)
    failed: dict[int, Failure] = {}
    for place, item in enumerate(planned):
        item = planned[place] = _waited_for(item, display)
        failures = run_missing([item], folder, LocalProcesses(1), display, in_foreground=True)
        if failures and item.folder is not None and is_held(item.folder):  # another process was a moment faster
            item = planned[place] = _waited_for(item, display)
            failures = run_missing([item], folder, LocalProcesses(1), display, in_foreground=True)
        for failure in failures:
            failed[place] = failure
    records, messages = [], []
    for place, item in enumerate(planned):
        record = None if item.folder is None else finished_record(item.folder)
        if place in failed:
            failure = failed[place]
            status, log = describe_exit(failure.status), f"{item.folder}/run.log"
            hint = f"; {GOES_ON}" if failure.status < 0 else ""
            messages.append(f"{display.label(item)} failed ({status}){hint}; its log is {log}")
        elif record is not None:
            records.append(record)
    return records, messages


def plan_runs(runs: Sequence[RunConfig]) -> list[PlannedRun]:
    """Look up and check every run on this machine, without building its frozen network.

    Raises FsbenchError for the first that cannot be made.
    """
    planner = Planner(Path(runs[0].runs), recheck=True, takes_notes=False)
    planned = []
    for run in runs:
        item = planner.look_up(run, on_this_machine=True)
        if item.lacks:  # its classes say more, of a backbone that the method does not take, say
            run_folder(run, takes_notes=False)
        if item.obstacle:
            raise item.error or SettingsError(item.obstacle)
        planned.append(item)
    return planned


def _waited_for(item: PlannedRun, display: "_NumberedLines") -> PlannedRun:
    """Wait while another process makes a run; return the run with the record that it left, if it left one."""
    if item.folder is None or item.record is not None or not is_held(item.folder):
        return item
    print_progress(f"{display.label(item)}: another process makes it in {item.folder}; waiting for it")
    while is_held(item.folder):
        time.sleep(POLL_SECONDS)
    return display.replaced(item, replace(item, record=finished_record(item.folder)))


class _NumberedLines:
    """A numbered line for each run of a plan, before it starts."""

    def __init__(self, planned: Sequence[PlannedRun]):
        self.planned = list(planned)
        self.names_protocol = len({item.config.protocol for item in planned}) > 1

    def label(self, item: PlannedRun) -> str:
        number = next(number for number, other in enumerate(self.planned, 1) if other is item)
        run = item.config
        protocol = f", {run.protocol}" * self.names_protocol
        several = [("way", run.way), ("shot", run.shot), ("seed", run.seed), ("test seed", run.test_seed)]
        axes = "".join(f", {name} {value}" for name, value in several if value is not None and self._differ(name))
        return f"[{number}/{len(self.planned)}] {run.method} on {run.dataset}, fold {run.fold}{protocol}{axes}"

    def _differ(self, name: str) -> bool:
        return len({getattr(item.config, name.replace(" ", "_")) for item in self.planned}) > 1

    def replaced(self, item: PlannedRun, by: PlannedRun) -> PlannedRun:
        """Put what is known now of a run in place of what was; return it."""
        self.planned = [by if other is item else other for other in self.planned]
        return by

    def skip(self, item: PlannedRun) -> None:
        print_progress(f"{self.label(item)}: found {item.folder}")

    def begin(self, item: PlannedRun, job: Job) -> None:
        print_progress(f"{self.label(item)}: runs in {item.folder}")

    def update(self) -> None:
        pass

    def end(self, item: PlannedRun, failed: bool) -> None:
        pass

    def close(self) -> None:
        pass


def protocol_words(runs: Sequence[RunConfig]) -> str:
    """Return one line on the protocols of runs: the several asked for, or those that methods take by themselves.

    It is empty where one was asked for, and where all take fscs, the suite's own.
    """
    asked = list(dict.fromkeys(run.protocol for run in runs if run.protocol))
    if len(asked) > 1:
        return f"protocols: {', '.join(asked)}; each has a table, and one has them side by side"
    methods: dict[str, dict[str, None]] = {}
    for run in runs:
        if run.own_protocol is not None:
            methods.setdefault(run.own_protocol, {})[run.method] = None
    if not methods.keys() - {DEFAULT_PROTOCOL}:
        return ""
    taken = "; ".join(f"{protocol} for {', '.join(names)}" for protocol, names in methods.items())
    mixed = len(methods) > 1
    apart = "figures of different protocols are not compared, each has a table; " if mixed else ""
    return f"protocol, by default: {taken} ({apart}PROTOCOL=<name> sets one for all)"
