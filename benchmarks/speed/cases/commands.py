"""Whole commands in processes of their own: their processor seconds with all their processes, and their memory."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from benchmarks.speed.drawn_runs import EPISODES, GRID, LONG, METHODS, make_runs, write_explored
from benchmarks.speed.harness import Case, Command
from fsbench.base.paths import REPOSITORY


def _environment(**more: str) -> dict[str, str]:
    """Return the variables with which a process runs the code of this checkout."""
    own = {"PYTHONPATH": str(REPOSITORY), "PYTHONSAFEPATH": "1", "WANDB": "off"}
    return own | {"OMP_NUM_THREADS": str(torch.get_num_threads())} | more


@contextmanager
def _folder(given: str | None) -> Iterator[Path]:
    """Yield a folder that is given and kept, or a temporary one."""
    with nullcontext(given) if given else tempfile.TemporaryDirectory() as name:
        Path(name).mkdir(parents=True, exist_ok=True)
        yield Path(name).resolve()


def _case(cache: Path, what: str, *words: str) -> Case:
    """Return a command with a cache folder of its own."""
    return Case(
        what, {f"fsbench {words[0]}": Command(["-m", "fsbench", *words], _environment(FSBENCH_CACHE=str(cache)))}
    )


def report_cases(device: torch.device, folder: str | None = None) -> Iterator[Case]:
    """Measure `fsbench report` on 50 methods, and with an explorer of 5000 episodes of 20 methods.

    Methods: 50 runs of 1000 episodes on each of 4 folds (five methods, ten seeds: 200 records). Explorer: each method
    has a stored mask of 400 x 500 pixels an episode, whose outline is as long as that of an object. Neither has data
    beside it, so images and truth are no part of the time. Runs are written into --folder, or were by an earlier call.
    """
    with _folder(folder) as place, tempfile.TemporaryDirectory() as temporary:
        many, explored, out = place / "fifty", place / "explored", f"{temporary}/report"
        cache = Path(temporary) / "cache"
        if not many.is_dir():
            make_runs(many, LONG | {"methods": GRID["methods"], "seeds": list(range(10))}, 1000)
        yield _case(cache, "report of 50 methods on 4 folds of 1000 episodes", "report", str(many), "--out", out)
        if not explored.is_dir():
            write_explored(explored)
        what = f"report and explorer of {METHODS} methods, {EPISODES} stored masks each"
        yield _case(cache, what, "report", str(explored), "--out", out)


def table_cases(device: torch.device, folder: str | None = None) -> Iterator[Case]:
    """Measure `fsbench table`, `compare` and `grid` on many runs.

    2000 runs of 100 episodes (five methods, two data sets, four folds, 1 and 5 shots, five settings, five seeds), and
    three methods on four folds of 1000 episodes each. Runs are written into --folder, or were by an earlier call.
    """
    with _folder(folder) as place, tempfile.TemporaryDirectory() as cache:
        many, long, task = write_tabled_runs(place)
        grid = ("grid", f"{many}.yaml", "--runs", many)
        for name, words in {
            "table, 2000 runs": ("table", many),
            "table, 2000 runs, all breakdowns": ("table", many, "--by", "size", "--by", "class"),
            "table, 12 long runs": ("table", long),
            "compare, 12 long runs": ("compare", long),
            "compare, 100 runs, 24 pairs": ("compare", task, "--baseline", "emat (seed 0)"),
            "grid, 2400 cells": grid,
            "grid, 2400 cells, JSON": (*grid, "--format", "json"),
        }.items():
            yield _case(Path(cache), name, *words)


def write_tabled_runs(place: Path) -> tuple[str, str, str]:
    """Write the runs of `table_cases` that are not there; return the folders many, long and task.

    "task" has those of the many that can be compared.
    """
    many, long, task = (place / name for name in ("many", "long", "task"))
    for runs, grid, episodes in ((many, GRID, 100), (long, LONG, 1000)):
        if not runs.is_dir():
            make_runs(runs, grid, episodes)
    if not task.is_dir():
        for run in many.glob("*-pascal-*-1shot-original-*"):
            shutil.copytree(run, task / run.name)
    return str(many), str(long), str(task)
