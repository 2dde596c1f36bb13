"""Commands in processes of their own: they are waited for, interrupted and killed, and their records compared."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from fsbench.records.record import Record, find_records

SERVER = "from multiprocessing.forkserver import main"
"""In the command line of the server whose forks runs are, and in theirs."""

GOES_ON = "run the same command again to continue"


def the_record(runs: Path) -> Record:
    """Return the record of the one finished run in a folder."""
    (record,) = find_records(runs)
    return record


def same(record: Record, whole: Record) -> None:
    """Assert that a run that was disturbed left the record of one that was not."""
    assert record.path.name == whole.path.name
    assert (record.run.identity, record.run.presence) == (whole.run.identity, whole.run.presence)
    assert (record.counted, record.scores) == (whole.counted, whole.scores)
    assert record.run.made.validation_mIoU == whole.run.made.validation_mIoU
    assert record.episodes.equals(whole.episodes)  # scores and region measures, too
    for name in ("manifest.jsonl", "predictions.png", "config.yaml", "identity.json"):
        ours, theirs = ((r.path / name).read_text(errors="replace") for r in (record, whole))
        assert ours.replace(str(record.path.parent), "") == theirs.replace(str(whole.path.parent), ""), name


def in_journal(runs: Path) -> int:
    """Return the number of episodes in the journal of the run in a folder of runs."""
    parts = runs.glob("*/evaluation/part-*.jsonl")
    return sum(max(part.read_bytes().count(b"\n") - 1, 0) for part in parts)


def wait_for(
    condition: Callable[[], object], process: subprocess.Popen[str] | None = None, seconds: float = 300
) -> None:
    """Wait until something is so; an error where the process ends before, or after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"waited in vain for {seconds} s"
        time.sleep(0.01)


def interrupt(process: subprocess.Popen[str], alone: bool = False) -> None:
    """Press Ctrl-C, which in a terminal reaches the whole group, and a supervisor's signal the process `alone`."""
    (os.kill if alone else os.killpg)(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    assert GOES_ON in err and "Traceback" not in err


def children(parent: int, words: str) -> list[int]:
    """Return the ids of the children of a process whose command line has `words`."""
    command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(parent)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()]
    return [int(line[0]) for line in lines if words in line[-1]]


def runs_on(process: int) -> bool:
    """Return whether a process is there and no zombie, which somebody has yet to fetch the status of."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return not shown.stdout.startswith("Z") if shown.stdout.strip() else False
