"""SIGKILL at any moment: the next start finishes the rest and gives the same record; nothing partial looks complete."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fsbench.records import Record, find_records
from fsbench.request import Request
from tests.cli.test_flows import the_record

GOES_ON = "the same command goes on from here"


@dataclass
class Started:
    """A started command and the folder of its runs."""

    process: subprocess.Popen[str]
    runs: Path
    began: float

    @property
    def lines(self) -> int:
        """Episodes in the journal."""
        parts = self.runs.glob("*/evaluation/part-*.jsonl")
        return sum(max(part.read_bytes().count(b"\n") - 1, 0) for part in parts)

    def has(self, pattern: str) -> bool:
        return any(self.runs.glob(f"*/{pattern}"))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def ranks(self) -> list[int]:
        """Ids of the processes of the run, rank 0 first, which is the one that was started."""
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
        found = [line.split(None, 2) for line in listed.stdout.splitlines()]
        own = self.process.pid
        return [own, *(int(pid) for pid, parent, words in found if int(parent) == own and "-m fsbench" in words)]


def kill_all(started: Started) -> None:
    os.killpg(started.process.pid, signal.SIGKILL)


def kill_started(started: Started) -> None:
    """The process that a user started, alone."""
    started.process.kill()


def kill_rank_1(started: Started) -> None:
    os.kill(started.ranks()[1], signal.SIGKILL)


When = Callable[[Started], bool]
Kill = Callable[[Started], None]


def after(seconds: float) -> When:
    return lambda started: started.seconds > seconds


def evaluated(lines: int) -> When:
    return lambda started: started.lines >= lines


def soon_after(pattern: str, seconds: float) -> When:
    """A moment after a file came into being."""

    def reached(started: Started) -> bool:
        if not started.has(pattern):
            return False
        time.sleep(seconds)
        return True

    return reached


def same(record: Record, whole: Record) -> None:
    assert record.path.name == whole.path.name
    for key in ("identity", "scores", "presence", "counts_sha256"):
        assert record.run[key] == whole.run[key]
    assert record.run["made"].get("validation_mIoU") == whole.run["made"].get("validation_mIoU")
    assert record.episodes.equals(whole.episodes)  # scores and region measures, too
    for name in ("manifest.jsonl", "predictions.png", "config.yaml", "identity.json"):
        ours, theirs = ((r.path / name).read_text(errors="replace") for r in (record, whole))
        assert ours.replace(str(record.path.parent), "") == theirs.replace(str(whole.path.parent), ""), name


@pytest.fixture
def survives(spawn, small_demo, tmp_path):
    """survives(method, [(when, kill), ...], *options) kills a run at each moment and starts it again."""

    def arguments(method: str, runs: Path, options: tuple[str, ...]) -> list[str]:
        extra = [
            "--data.workers=0", "--data.validation_episodes=3", "--data.dataset=datamodules.folder.Folder",
            f"--data.dataset.root={small_demo}", *options,
        ]  # fmt: skip
        return Request([method], "demo", [0], str(runs), extra=extra).arguments(method, 0)

    def check(method: str, points: list[tuple[When, Kill]], *options: str, devices: str = "1") -> None:
        options = (
            *options,
            f"--trainer.devices={devices}",
            f"--trainer.strategy={'auto' if devices == '1' else 'ddp'}",
        )
        process = spawn("run", *arguments(method, tmp_path / "whole", options))
        _, err = process.communicate(timeout=400)
        assert process.returncode == 0, err
        whole = the_record(tmp_path / "whole")
        number = 0
        for when, kill in points:
            runs = tmp_path / f"killed-{number}"
            started = Started(spawn("run", *arguments(method, runs, options)), runs, time.monotonic())
            while not when(started) and started.process.poll() is None:
                assert started.seconds < 240
                time.sleep(0.002)
            alive = started.process.poll() is None
            if alive:
                kill(started)
            _, err = started.process.communicate(timeout=60)  # until no process holds the other end: all have ended
            assert "Traceback" not in err, err
            if alive and kill is not kill_all and devices != "1":
                assert GOES_ON in err, err
            found = find_records(runs) if runs.is_dir() else []
            for record in found:  # it was complete when it was killed
                same(record, whole)
            number += bool(found)
        runs = tmp_path / f"killed-{number}"
        process = spawn("run", *arguments(method, runs, options))
        _, err = process.communicate(timeout=400)
        assert process.returncode == 0, err
        same(the_record(runs), whole)
        (folder,) = runs.iterdir()  # and no lock
        assert not (folder / "evaluation").exists() and not list(folder.rglob("*.new"))

    return check


@pytest.mark.slow
def test_evaluation_killed_at_ten_points(survives):
    rng = random.Random(0)
    points = [after(rng.uniform(0, 4)) for _ in range(2)]
    points += [evaluated(n) for n in sorted(rng.sample(range(1, 120), 5))]
    points += [soon_after("manifest.jsonl", rng.uniform(0, 0.3)) for _ in range(2)]
    points += [soon_after("episodes.parquet", rng.uniform(0, 0.02))]
    survives("prototype", [(when, kill_all) for when in points], "--data.episodes=120")


@pytest.mark.slow
def test_one_rank_or_all_killed_at_five_points(survives):
    rng = random.Random(1)
    lines = sorted(rng.sample(range(1, 120), 4))
    kills = [kill_rank_1, kill_started, kill_all, kill_rank_1]
    points = [(evaluated(n), kill) for n, kill in zip(lines, kills, strict=True)]
    points.insert(0, (lambda started: len(started.ranks()) > 1, kill_started))  # before they have found each other
    survives("prototype", points, "--data.episodes=160", devices="2")


@pytest.mark.slow
def test_training_killed_at_five_points(survives):
    """With dropout, whose random numbers must not depend on where a training was stopped."""
    rng = random.Random(2)
    points = [soon_after("checkpoints/.best.ckpt.*.new", 0), soon_after("checkpoints/last.ckpt", rng.uniform(0, 0.1))]
    points += [soon_after("checkpoints/last.ckpt", rng.uniform(0.1, 2)), soon_after("checkpoints/finished.json", 0)]
    points += [evaluated(rng.randrange(1, 9))]
    survives(
        "dcama", [(when, kill_all) for when in points], "--data.episodes=9", "--model.dropout=0.5",
        "--trainer.max_epochs=4", "--trainer.limit_train_batches=2",
    )  # fmt: skip
