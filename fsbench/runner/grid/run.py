"""Make the runs of a plan that can be made, at most as many at once as the executor takes."""

import csv
import re
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from fsbench.base.errors import FsbenchError
from fsbench.base.files import make_folder
from fsbench.base.progress import SECONDS, hides_bar
from fsbench.base.terminal import one_line, print_progress
from fsbench.records.run_directory import is_held
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.machine.watchdog import sigterm_exits
from fsbench.runner.grid.children import Job
from fsbench.runner.grid.executors import Executor, Running
from fsbench.runner.grid.plan import PlannedRun, finished_record, run_fingerprint, run_folder
from fsbench.runner.grid.words import run_label

POLL_SECONDS = 0.3
LAST_LINES = 8


@dataclass(frozen=True)
class Failure:
    """A run of a grid that ended without a record, with words for how it ended and the file with its output."""

    item: PlannedRun
    ending: str
    log: Path


def run_missing(planned: Sequence[PlannedRun], runs: Path, executor: Executor) -> list[Failure]:
    """Carry out every planned run that can be carried out, in order; if a run fails, the next ones still run.

    On KeyboardInterrupt and SIGTERM the running ones are stopped; what they finished is kept.

    Args:
        planned: the planned runs.
        runs: folder of all runs, to which their output is written.
        executor: starts the runs.

    Returns:
        The runs that failed, with how each ended and its log.
    """
    display = _Display(sum(item.is_ready for item in planned))
    waiting = deque(planned)
    running: list[tuple[PlannedRun, Path, Running]] = []
    failures: list[Failure] = []
    done = sum(item.state == "done" for item in planned)
    with sigterm_exits():
        try:
            while waiting or running:
                batch = _next_batch(waiting, executor.at_once - len(running))
                if batch:
                    logs = [_log_file(item.config, runs) for item in batch]
                    for item, log in zip(batch, logs, strict=True):
                        display.begin(item, log)
                    jobs = [Job(item.config, log, item.settings) for item, log in zip(batch, logs, strict=True)]
                    running += zip(batch, logs, executor.start(jobs), strict=True)
                for item, log, started in list(running):
                    status = started.poll()
                    if status is None:
                        continue
                    running.remove((item, log, started))
                    failed = status != 0 or not _has_record(item)
                    if failed:
                        failures.append(Failure(item, started.ending(), log))
                    done += not failed
                    display.end(item, failed)
                display.update()
                if running:
                    time.sleep(POLL_SECONDS)
        except BaseException as error:
            try:
                with ExitStack() as stack:  # a second Ctrl-C, while one of them ends, leaves no other running
                    for _, _, started in running:
                        stack.callback(started.stop)
            finally:
                display.close()
                if isinstance(error, KeyboardInterrupt) and len(planned) > 1:
                    at = [f"{run_label(item.config)}: {progress_text(item.folder, log)}" for item, log, _ in running]
                    where = f" ({'; '.join(at)})" if at else ""
                    left = sum(item.is_ready for item in waiting)
                    print_progress(f"{done} done, {len(running)} stopped{where}, {left} waiting")
            raise
    display.close()
    return failures


def _next_batch(waiting: deque[PlannedRun], free: int) -> list[PlannedRun]:
    """Take the next runs that can be made from the plan, as many as there are free places."""
    batch: list[PlannedRun] = []
    while waiting and (len(batch) < free or not waiting[0].is_ready):
        item = waiting.popleft()
        if item.folder is not None and item.state != "done" and is_held(item.folder):
            tqdm.write(f"{run_label(item.config)}: running elsewhere", file=sys.stderr)
        elif item.is_ready:
            batch.append(item)
    return batch


def _has_record(item: PlannedRun) -> bool:
    """Return whether the run's record exists.

    If not, its folder is looked up again: the noted one is outdated when the data or the code changed since.
    """
    try:
        if item.folder is not None and finished_record(item.folder) is not None:
            return True
        return finished_record(run_folder(item.config)) is not None
    except FsbenchError:
        return False


def _log_file(run: RunConfig, runs: Path) -> Path:
    """Return the file that a run is to print to. Its name ends with a hash, since labels leave out some options."""
    words = re.sub(r"[^\w.-]+", "-", run_label(run))
    return make_folder(runs / ".grid" / "logs") / f"{words}-{run_fingerprint(run)[:8]}.log"


def last_lines(log: Path) -> list[str]:
    """Return the last non-empty lines of a log file, with only the last state of each progress bar."""
    if not log.is_file():
        return []
    lines = [line.rpartition("\r")[2].rstrip() for line in log.read_bytes().decode(errors="replace").split("\n")]
    return [line for line in lines if line][-LAST_LINES:]


class _Display:
    """A bar of the runs that ended and a line for each running one, on a terminal.

    Elsewhere a line at each end, and every ten seconds one on each run that goes on.

    Args:
        total: number of runs that are to be made.
    """

    def __init__(self, total: int):
        self.hidden = hides_bar()
        self.bar = tqdm(total=total, desc="runs", file=sys.stderr, disable=self.hidden)
        self.lines: list[tuple[PlannedRun, Path, tqdm[None]]] = []
        self._told = time.monotonic()

    def begin(self, item: PlannedRun, log: Path) -> None:
        line = tqdm(
            desc=run_label(item.config),
            position=len(self.lines) + 1,
            leave=False,
            file=sys.stderr,
            disable=self.hidden,
            bar_format="  {desc}: {postfix} [{elapsed}]",
            postfix="starts",
        )
        self.lines.append((item, log, line))

    def update(self) -> None:
        is_due = time.monotonic() - self._told >= SECONDS
        for item, log, line in self.lines:
            if not line.disable:
                line.set_postfix_str(progress_text(item.folder, log))
            elif is_due:
                print_progress(f"{run_label(item.config)}: {progress_text(item.folder, log)}")
        if is_due:
            self._told = time.monotonic()

    def end(self, item: PlannedRun, failed: bool) -> None:
        for entry in [entry for entry in self.lines if entry[0] is item]:
            entry[2].close()
            self.lines.remove(entry)
        self.bar.update()
        tqdm.write(f"{run_label(item.config)}: {'failed' if failed else 'done'}", file=sys.stderr)

    def close(self) -> None:
        for _, _, line in self.lines:
            line.close()
        self.bar.close()


def progress_text(folder: Path | None, log: Path) -> str:
    """Return words for what a run is doing now, such as "training: epoch 3" or "evaluation: 40 episodes done".

    Args:
        folder: the run's folder; None if it has none yet.
        log: file with what the run has printed.
    """
    if folder is None or not folder.is_dir():
        return "starting"
    parts = list(folder.glob("evaluation/part-*.jsonl"))
    if parts:
        done = sum(max(part.read_bytes().count(b"\n") - 1, 0) for part in parts)
        return f"evaluation: {done} episodes done"
    said = [line for line in last_lines(log) if line.startswith(("training", "validation"))]
    if said:
        return one_line(said[-1], 120)
    for curves in folder.glob("curves/**/metrics.csv"):
        with curves.open(newline="") as file:
            epochs = [int(row["epoch"]) for row in csv.DictReader(file) if (row.get("epoch") or "").isdecimal()]
        return f"training: epoch {epochs[-1] + 1}" if epochs else "training"  # as the run itself counts, from 1
    return "starting"
