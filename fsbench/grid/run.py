"""Run the missing cells of a grid, with a live line for each running one and a message when it ends."""

import csv
import re
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from fsbench.engine.machine.watchdog import sigterm_exits
from fsbench.errors import FsbenchError
from fsbench.files import make_folder
from fsbench.grid.executors import Executor, Job, Running
from fsbench.grid.plan import PlannedRun, run_folder
from fsbench.progress import hides_bar
from fsbench.records.record import read_record

POLL_SECONDS = 0.3
LAST_LINES = 8


@dataclass(frozen=True)
class Failure:
    """A cell that ended without a record: its exit status, its log, and the log's last lines."""

    label: str
    status: int
    log: Path
    lines: list[str]


def run_missing(
    planned: Sequence[PlannedRun], runs: Path, executor: Executor, screen: bool | None = None
) -> list[Failure]:
    """Run every cell that is missing or was begun; a failed one stops no other.

    `screen` shows progress on the standard error (None: where that is a terminal). On KeyboardInterrupt and SIGTERM the
    running cells are stopped, and keep what they finished.
    """
    logs = make_folder(runs / ".grid" / "logs")
    waiting = deque(item for item in planned if item.state in ("missing", "begun"))
    running: list[tuple[PlannedRun, Job, Running, _ProgressLine]] = []
    failures: list[Failure] = []
    hidden = hides_bar() if screen is None else not screen
    with sigterm_exits(), tqdm(total=len(waiting), desc="cells", file=sys.stderr, disable=hidden) as bar:
        try:
            while waiting or running:
                batch = [waiting.popleft() for _ in range(min(len(waiting), executor.at_once - len(running)))]
                if batch:
                    jobs = [_job(item, runs, logs) for item in batch]
                    for item, job, started in zip(batch, jobs, executor.start(jobs), strict=True):
                        running.append((item, job, started, _ProgressLine(item, len(running) + 1, hidden)))
                for entry in list(running):
                    item, job, started, line = entry
                    status = started.poll()
                    if status is None:
                        line.update()
                        continue
                    running.remove(entry)
                    line.close()
                    bar.update()
                    failed = status != 0 or not _has_record(item, runs)
                    if failed:
                        failures.append(Failure(item.cell.label, status, job.log, last_lines(job.log)))
                    tqdm.write(f"{item.cell.label}: {'failed' if failed else 'done'}", file=sys.stderr)
                if running:
                    time.sleep(POLL_SECONDS)
        finally:
            for _, _, started, line in running:
                started.stop()
                line.close()
    return failures


def _has_record(item: PlannedRun, runs: Path) -> bool:
    """Return whether the cell's record exists.

    If not, its folder is looked up again: the noted one is outdated when the data or the code changed since.
    """
    try:
        if item.folder is not None and read_record(item.folder) is not None:
            return True
        return read_record(run_folder(item.cell, runs, recheck=True)) is not None
    except FsbenchError:
        return False


def _job(item: PlannedRun, runs: Path, logs: Path) -> Job:
    """Return the cell's job. Its log's name ends with a hash, since labels leave out some of the options."""
    words = re.sub(r"[^\w.-]+", "-", item.cell.label)
    log = logs / f"{words}-{item.cell.fingerprint(runs)[:8]}.log"
    log.unlink(missing_ok=True)
    return Job(tuple(item.cell.arguments(runs)), log, item.cell.request.devices or 1)


def last_lines(log: Path, count: int = LAST_LINES) -> list[str]:
    """Return a log's last lines that are not empty; of progress bars only the last state."""
    if not log.is_file():
        return []
    lines = [line.rpartition("\r")[2].rstrip() for line in log.read_bytes().decode(errors="replace").split("\n")]
    return [line for line in lines if line][-count:]


class _ProgressLine:
    """The line of a running cell on the screen, with its present step."""

    def __init__(self, item: PlannedRun, position: int, hidden: bool | None):
        self.folder = item.folder
        self.bar = tqdm(
            desc=item.cell.label,
            position=position,
            leave=False,
            file=sys.stderr,
            disable=hidden,
            bar_format="  {desc}: {postfix} [{elapsed}]",
            postfix="starts",
        )

    def update(self) -> None:
        if not self.bar.disable:
            self.bar.set_postfix_str(progress_text(self.folder))

    def close(self) -> None:
        self.bar.close()


def progress_text(folder: Path | None) -> str:
    """Return the present step of the run in `folder` in words."""
    if folder is None or not folder.is_dir():
        return "starts"
    parts = list(folder.glob("evaluation/part-*.jsonl"))
    if parts:
        done = sum(max(part.read_bytes().count(b"\n") - 1, 0) for part in parts)
        return f"evaluates, {done} episodes done"
    for curves in folder.glob("curves/**/metrics.csv"):
        with curves.open(newline="") as file:
            epochs = [row.get("epoch") for row in csv.DictReader(file)]
        return f"trains, epoch {epochs[-1]}" if epochs else "trains"
    return "begins"
