"""`bench` of several methods on one frozen network: they are evaluated together, and a kill or Ctrl-C loses nothing."""

import os
import signal
from pathlib import Path

import pytest

from fsbench.records.record import Record, find_records
from tests.cli.commands import images_of
from tests.cli.processes import SERVER, children, in_journal, interrupt, same, wait_for

METHODS = ("prototype", "linear_probe_dense")
TOGETHER = "the 2 runs above use the same images and network and are evaluated together"


@pytest.fixture
def words(small_demo):
    """words(methods, runs, *more) -> the arguments of `fsbench bench` on the small data set."""

    def call(methods: str, runs: Path, *more: str) -> list[str]:
        test = ["--protocol", "fscs", "--episodes", "30", "--runs", str(runs), "--data.loading.workers=0"]
        return ["bench", "--method", methods, "--dataset", "demo", *test, *images_of(small_demo), *more]

    return call


KILLED = "stopped (killed by SIGKILL; out of memory?); the rest is run one by one"


def kill_amid(process, runs: Path) -> tuple[str, str]:
    """Kill the process of the runs of a command when another episode is done; return what the command prints then."""
    begun = in_journal(runs)
    wait_for(lambda: in_journal(runs) > begun, process)
    (server,) = children(process.pid, SERVER)
    (run,) = children(server, SERVER)
    os.kill(run, signal.SIGKILL)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out, err


def records(runs: Path) -> dict[str, Record]:
    return {record.path.name: record for record in find_records(runs)}


@pytest.mark.slow(160)
def test_killed_and_interrupted_they_end_as_they_do_alone(spawn, warm, words, tmp_path):
    runs = tmp_path / "runs"
    for method in METHODS:
        assert warm(*words(method, tmp_path / "alone")).returncode == 0
    alone = records(tmp_path / "alone")

    process = spawn(*words(",".join(METHODS), runs))
    wait_for(lambda: in_journal(runs) >= 3, process)
    interrupt(process)
    assert not records(runs) and in_journal(runs) >= 3

    out, err = kill_amid(spawn(*words(",".join(METHODS), runs)), runs)
    assert TOGETHER in err and KILLED in err, err
    assert all(method in out for method in METHODS)
    assert records(runs).keys() == alone.keys()
    for name, record in records(runs).items():
        same(record, alone[name])

    # the old records stay until new ones are complete, and are not taken for these
    old = {name: record.run.provenance.finished for name, record in records(runs).items()}
    _, err = kill_amid(spawn(*words(",".join(METHODS), runs, "--force")), runs)
    assert TOGETHER in err and KILLED in err, err
    assert {name for name, record in records(runs).items() if record.run.provenance.finished > old[name]} == set(old)
    assert all(record.episodes.equals(alone[name].episodes) for name, record in records(runs).items())

    again = warm(*words(",".join(METHODS), runs))
    assert again.returncode == 0 and TOGETHER not in again.stderr and again.stderr.count("done before, in") == 2
