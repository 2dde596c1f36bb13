"""A run ended or hindered at each of its events: the next start finishes the rest and gives the same record.

The events are changes of the disk, lines of the journal, steps of the optimiser and the end of W&B's run, counted in
the run itself (tests/cli/traps.py), so that every moment is reached on machines of any speed.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

from fsbench.records.record import find_records
from tests.cli.commands import environments_of_ranks, images_of, run_command
from tests.cli.conftest import environment_of_test
from tests.cli.processes import same, the_record
from tests.cli.traps import copy_before, cut_power, events

KILLED_IN_TRUTH = 5
"""One run in so many is killed; the others are what a copy of its files before the event has."""
TWICE = 2
"""Number of lines of the journal and of steps that are tried. Of other events the first of a kind is, from which later
ones differ in a number alone."""


@dataclass
class Trapped:
    """A run that can be started with a trap, and the record that it gives without one.

    Attributes:
        command: arguments of `fsbench bench --config` for a folder of runs.
        start: starts it: (arguments, trap) -> what ended, a process for each rank.
        folder: where runs and notes are written.
        whole: folder of the run that nothing hindered.
        happened: events of the last process of that run.
    """

    command: Callable[[Path], list[str]]
    start: Callable[..., list[CompletedProcess[str]]]
    folder: Path
    whole: Path
    happened: list[tuple[str, str]]

    def moments(self) -> Iterator[int]:
        """Yield the number of each event, without further ones of the same kind."""
        seen: dict[str, int] = {}
        for number, (name, path) in enumerate(self.happened):
            kind = f"{name} {numbers_out(path)}"
            seen[kind] = seen.get(kind, 0) + 1
            if seen[kind] <= (TWICE if name in ("line", "step") else 1):
                yield number

    def hindered(self, at: int, how: str) -> tuple[Path, Path, list[CompletedProcess[str]]]:
        """Start it with a trap; returns its folder of runs, the notes, and how it ended."""
        runs, notes = self.folder / f"{how}-{at}", self.folder / f"{how}-{at}.notes"
        ended = self.start(self.command(runs), {"folder": str(runs), "notes": str(notes), "at": at, "how": how})
        return runs, notes, ended

    def killed(self, moments: Sequence[int]) -> Iterator[tuple[Path, str]]:
        """Yield its folder of runs as SIGKILL leaves it before each of some events, and words for that.

        One run, copied before each event, gives them all; copies that are equal come once. Every fifth run is killed
        in truth, and leaves the files that the copy has.
        """
        copied, notes, (ended,) = self.hindered(0, "copy")
        assert ended.returncode == 0, ended.stderr
        shutil.rmtree(copied)
        seen = []
        for at in moments:
            copy, what = copy_before(notes, at), f"killed before {self.happened[at]}"
            if (content := contents(copy)) in seen:
                continue
            if len(seen) % KILLED_IN_TRUTH == 0:
                runs, _, (ended,) = self.hindered(at, "kill")
                assert ended.returncode == -9, (what, ended.stderr)
                assert sorted(map(numbers_out, contents(runs))) == sorted(map(numbers_out, content)), what
                yield runs, what
            else:
                if copy.is_dir():
                    copy.rename(copied)
                yield copied, what
            seen.append(content)

    def goes_on(self, runs: Path, what: str) -> None:
        """Start it again and compare its record with the whole one; then remove it."""
        finished = bool(find_records(runs)) if runs.is_dir() else False  # what is left to tidy up may stay
        ended = self.start(self.command(runs))
        assert [done.returncode for done in ended] == [0] * len(ended), (what, ended[0].stderr)
        record, whole = the_record(runs), the_record(self.whole)
        same(record, whole)
        for table in ("episodes.parquet", "predictions.parquet"):
            assert (record.path / table).read_bytes() == (whole.path / table).read_bytes(), what
        assert finished or (not (record.path / "evaluation").exists() and not list(runs.rglob("*.new"))), what
        shutil.rmtree(runs)


def numbers_out(path: str) -> str:
    """Return a path without what differs from run to run: hashes, random names, lines, processes."""
    return re.sub(r"[0-9a-f]{6,}|[0-9]+", "#", path)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return the bytes of all files below a folder, and None for folders, by their paths."""
    paths = folder.rglob("*")
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in paths}


@pytest.fixture
def trapped(warm_process, small_demo, tmp_path):
    """trapped(method, *options, ranks=1, **environment) -> the run, after it was once done without a trap."""

    def make(method: str, *options: str, ranks: int = 1, **more: str) -> Trapped:
        def command(runs: Path) -> list[str]:
            few = [
                "--data.test.episodes=5", "--data.training.batch_size=4", "--data.training.validation_episodes=2",
                "--data.loading.workers=0", "--data.image_size=64",
                "--data.loading.eval_batch_size=1", "--trainer.max_epochs=2", "--trainer.limit_train_batches=2",
            ]  # fmt: skip
            return run_command(method, runs, small_demo, *few, *options, devices=ranks)

        def start(arguments: Sequence[str], trap: dict | None = None) -> list[CompletedProcess[str]]:
            environments = [environment_of_test(tmp_path) | more | rank for rank in environments_of_ranks(ranks)]
            return warm_process.call_ranks(arguments, tmp_path, environments, trap)

        whole, notes = tmp_path / f"{method}-whole", tmp_path / "whole.notes"
        ended = start(command(whole), {"folder": str(whole), "notes": str(notes)})
        assert [done.returncode for done in ended] == [0] * ranks, ended[0].stderr
        return Trapped(command, start, tmp_path, whole, events(notes))

    return make


@pytest.mark.slow(40)
def test_an_evaluation_killed_at_every_event(trapped):
    run = trapped("prototype")
    moments = list(run.moments())
    assert len(moments) > 20
    for runs, what in run.killed(moments):
        run.goes_on(runs, what)


@pytest.mark.slow(140)
def test_a_training_killed_at_every_event(trapped):
    """With dropout, whose numbers must be drawn again; what follows the training is as in an evaluation."""
    run = trapped("dcama", "--model.dropout=0.5", "--data.training.batch_size=2")
    names = [Path(path).name for _, path in run.happened]
    moments = [at for at in run.moments() if at <= names.index("finished.json") + 1]
    assert sum(run.happened[at][0] == "step" for at in moments) == TWICE and len(moments) > 15
    for runs, what in run.killed(moments):
        run.goes_on(runs, what)


@pytest.mark.slow(20)
@pytest.mark.parametrize("method", ["prototype", "dcama"])
def test_a_power_cut_leaves_what_was_synced(trapped, method):
    run = trapped(method)
    names = [(name, Path(path).suffix) for name, path in run.happened]
    renames = [at for at, event in enumerate(names) if event in {("os.remove", ".new"), ("line", ".jsonl")}]
    for at in renames[:: 1 if method == "prototype" else 4]:  # just after a file got its name
        runs, notes, _ = run.hindered(at, "kill")
        cut_power(runs, notes)
        run.goes_on(runs, f"power cut before {run.happened[at]}")


@pytest.mark.slow(40)
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_disk_that_is_full_or_read_only_from_some_event_on(trapped, how):
    """One line that names the cause, an exit status, and nothing lost when there is space again."""
    run = trapped("hsnet")
    for at in list(run.moments())[4 :: 5 if how == "full" else 10]:
        runs, _, (ended,) = run.hindered(at, how)
        cause = "No space left on device" if how == "full" else "Read-only file system"
        if ended.returncode:
            last = ended.stderr.strip().splitlines()[-1]
            assert ended.returncode in (1, 2) and cause in last and "Traceback" not in ended.stderr, (
                run.happened[at],
                ended.stderr,
            )
        run.goes_on(runs, f"{how} from {run.happened[at]}")


@pytest.mark.slow(40)
def test_two_processes_killed_at_events_of_the_second(trapped):
    run = trapped("hsnet", ranks=2)
    moments = list(run.moments())
    assert {run.happened[at][0] for at in moments} >= {"line"}
    for at in moments[:: max(len(moments) // 5, 1)]:
        runs, _, ended = run.hindered(at, "kill")
        assert [done.returncode for done in ended] == [-9, -9], (run.happened[at], ended[0].stderr)
        run.goes_on(runs, f"killed before {run.happened[at]}")


@pytest.mark.slow
def test_killed_in_the_end_of_a_logged_run(trapped):
    run = trapped("prototype", WANDB="offline")
    (at,) = [at for at, (name, _) in enumerate(run.happened) if name == "wandb"]
    runs, _, (ended,) = run.hindered(at, "kill")
    assert ended.returncode == -9 and not find_records(runs)
    run.goes_on(runs, "killed in W&B's finish")


@pytest.mark.slow(60)
def test_a_grid_killed_at_events_of_its_own(warm_process, small_demo, tmp_path):
    """The command that plans and starts runs is killed while it writes notes, configurations and logs.

    What a run writes in its training is reached above.
    """
    few = ["--data.test.episodes=5", "--data.loading.workers=0", images_of(small_demo)[0]]
    grid = {"methods": ["prototype", "blind_centre"], "datasets": ["demo"], "folds": [0], "extra": few}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid | {"data_roots": {"demo": str(small_demo)}}))

    def start(runs: Path, trap: dict | None = None) -> CompletedProcess[str]:
        command = ["grid", "grid.yaml", "--runs", str(runs), "--run"]
        (ended,) = warm_process.call_ranks(command, tmp_path, [environment_of_test(tmp_path)], trap)
        return ended

    whole, notes = tmp_path / "whole", tmp_path / "whole.notes"
    assert start(whole, {"folder": str(whole), "notes": str(notes)}).returncode == 0
    expected = {record.path.name: record for record in find_records(whole)}
    assert len(expected) == 2
    kinds = [f"{name} {numbers_out(path)}" for name, path in events(notes)]
    moments = [at for at, kind in enumerate(kinds) if kind not in kinds[:at]]
    assert len(moments) > 5
    for at in moments:
        runs = tmp_path / f"killed-{at}"
        trap = {"folder": str(runs), "notes": f"{runs}.notes", "at": at, "how": "kill"}
        assert start(runs, trap).returncode == -9, kinds[at]
        again = start(runs)
        assert again.returncode == 0, (kinds[at], again.stderr)
        found = {record.path.name: record for record in find_records(runs)}
        assert found.keys() == expected.keys(), kinds[at]
        for name, record in found.items():
            same(record, expected[name])
            for table in ("episodes.parquet", "predictions.parquet"):
                assert (record.path / table).read_bytes() == (expected[name].path / table).read_bytes(), kinds[at]
            assert not list(record.path.rglob("*.new"))
