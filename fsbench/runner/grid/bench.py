"""Make the runs of one table, one after the other; they print where the command does."""

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
from fsbench.records.writing import label_run
from fsbench.runner.config.run_config import DEFAULT_PROTOCOL, RunConfig
from fsbench.runner.engine.machine.watchdog import describe_exit, sigterm_exits
from fsbench.runner.grid.children import Job, start_run
from fsbench.runner.grid.executors import Process, start_process
from fsbench.runner.grid.plan import PlannedRun, Planner, finished_record, run_folder, without_repeats
from fsbench.runner.grid.run import POLL_SECONDS


def bench(runs: Sequence[RunConfig]) -> tuple[list[Record], list[str]]:
    """Carry out all unfinished runs one after the other; wait for runs that another process is working on.

    Every run is checked before the first one starts. Each has a process of its own, so that peak memory is measured
    correctly and a failure stops only this run. Runs on one test with the same frozen network that need no training are
    evaluated together in one process, where each image is encoded once; those that fail there are carried out one by
    one.

    Args:
        runs: the runs, all with the same folder of runs.

    Returns:
        The records of all runs that are done, and a message about each that failed.

    Raises:
        FsbenchError: the settings of a run are invalid.
        KeyboardInterrupt: the process was interrupted.
    """
    planned = plan_runs(runs)
    make_folder(Path(runs[0].runs))
    if len(planned) > 1 and "WANDB_SWEEP_ID" in os.environ and (os.environ.get("WANDB") or "off") != "off":
        raise SettingsError(
            f"an agent of a W&B sweep asked for {len(planned)} runs at once, but W&B would keep only the last one's "
            "score; expected one run of one fold; sweep over one fold, and see the mean over folds with fsbench table"
        )
    for note in dict.fromkeys([protocol_words(runs), *(run.backbone_note for run in runs)]):
        if note:
            print_progress(note)
    records, messages = [], []
    labelled = list(zip(planned, _labels([item.config for item in planned]), strict=True))
    walks, walked = _walks(labelled), dict[Path | None, Record]()
    for item, label in labelled:
        if item.walk in walks:
            walked |= _make_together(walks.pop(item.walk))
        found = walked.get(item.folder) or _make(item, label)
        if isinstance(found, Record):
            records.append(found)
        else:
            hint = f"; {GOES_ON}" if found < 0 else ""
            messages.append(f"{label} failed ({describe_exit(found)}){hint}; its log is {item.folder}/run.log")
    return records, messages


def _walks(labelled: Sequence[tuple[PlannedRun, str]]) -> dict[str | None, list[tuple[PlannedRun, str]]]:
    """Return the runs that are to be evaluated together, by what they share.

    There are none where runs are sent to W&B, which has one run of a process at a time.
    """
    # with Lightning, which planning has imported
    from fsbench.runner.engine.loggers import wandb_mode

    if wandb_mode() != "off":
        return {}
    walks: dict[str | None, list[tuple[PlannedRun, str]]] = {}
    for item, label in labelled:
        is_left = item.record is None or item.config.force
        if item.walk is not None and is_left and item.folder is not None and not is_held(item.folder):
            walks.setdefault(item.walk, []).append((item, label))
    return {walk: items for walk, items in walks.items() if len(items) > 1}


def _make_together(walk: Sequence[tuple[PlannedRun, str]]) -> dict[Path | None, Record]:
    """Evaluate runs together; return the records of those that are done then, by their folders."""
    for item, label in walk:
        print_progress(f"{label}: {_how(item)} in {item.folder}")
    print_progress(f"the {len(walk)} runs above use the same images and network and are evaluated together")
    status = _wait_for(Process(start_run(*(Job(item.config, None, item.settings) for item, _ in walk)), is_apart=False))
    if status != 0:
        print_progress(f"the runs evaluated together stopped ({describe_exit(status)}); the rest is run one by one")
    # after a failure a record of a forced run may be the old one
    done = [item.folder for item, _ in walk if item.folder is not None and not (status and item.config.force)]
    return {folder: record for folder in done if (record := finished_record(folder))}


def _how(item: PlannedRun) -> str:
    """Return whether a run begins or goes on, in words."""
    return "goes on" if item.state == "stopped" else "runs"


def _wait_for(process: Process) -> int:
    """Wait for a process, which ends with this one; return its exit status."""
    with sigterm_exits():
        try:
            status = process.wait()
        finally:
            process.stop()
    assert status is not None  # it has ended
    return status


def _make(item: PlannedRun, label: str, again: bool = True) -> Record | int:
    """Make a run, unless it is done or another process makes it; return its record, or the status of its process.

    Where another process was a moment faster, and its run came to nothing, it is made `again`, once.
    """
    # with Lightning, which planning has imported
    from fsbench.runner.engine.loggers import lacks_finished_run

    folder, record = item.folder, item.record
    assert folder is not None  # since nothing that the run needs is missing
    if record is None and is_held(folder):
        print_progress(f"{label}: another process is running it in {folder}; waiting for it")
        while is_held(folder):
            time.sleep(POLL_SECONDS)
        record = finished_record(folder)
    if record is not None and not item.config.force:
        print_progress(f"{label}: done before, in {folder}")
        if lacks_finished_run(folder) and _wait_for(start_process(Job(item.config, None, item.settings))) != 0:
            print_progress(f"{label}: W&B could not log it, as is told above; the run is done all the same")
        return label_run(record, item.config.label)
    print_progress(f"{label}: {_how(item)} in {folder}")
    status = _wait_for(start_process(Job(item.config, None, item.settings)))
    if status == 0:
        return finished_record(folder) or status
    if again and is_held(folder):
        return _make(replace(item, record=None), label, again=False)
    return status


def _labels(runs: Sequence[RunConfig]) -> list[str]:
    """Return a numbered line for each run: method, data set, fold, and what not all of the runs have in common."""
    several = {"way": "way", "shot": "shot", "seed": "seed", "test_seed": "test seed"}
    names = {field: name for field, name in several.items() if len({getattr(run, field) for run in runs}) > 1}
    labels = []
    for number, run in enumerate(runs, 1):
        words = [f"{run.method} on {run.dataset}", f"fold {run.fold}"]
        if len({run.protocol for run in runs}) > 1:
            words.append(str(run.protocol))
        values = {name: getattr(run, field) for field, name in names.items()}
        words += [f"{name} {value}" for name, value in values.items() if value is not None]
        labels.append(f"[{number}/{len(runs)}] {', '.join(words)}")
    return labels


def plan_runs(runs: Sequence[RunConfig]) -> list[PlannedRun]:
    """Look up and check each run without building its network; drop runs that differ only in an unused seed.

    Raises FsbenchError for the first run that is not possible.
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
    return without_repeats(planned)


def protocol_words(runs: Sequence[RunConfig]) -> str:
    """Return a line that names the protocols of runs; "" if there is nothing to say.

    It is "" if a protocol was chosen explicitly, and if all runs use fscs, the protocol of fsbench itself.
    """
    asked = list(dict.fromkeys(run.protocol for run in runs if run.protocol))
    if len(asked) > 1:
        return f"protocols: {', '.join(asked)}; each has its own table, and one more table shows them side by side"
    methods: dict[str, dict[str, None]] = {}
    for run in runs:
        if run.own_protocol is not None:
            methods.setdefault(run.own_protocol, {})[run.method] = None
    if not methods.keys() - {DEFAULT_PROTOCOL}:
        return ""
    taken = "; ".join(f"{protocol} for {', '.join(names)}" for protocol, names in methods.items())
    mixed = len(methods) > 1
    apart = "scores of different protocols cannot be compared, so each has its own table; " if mixed else ""
    return f"default protocol: {taken} ({apart}--protocol NAME sets one for all)"
