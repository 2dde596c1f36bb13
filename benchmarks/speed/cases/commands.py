"""Whole commands in processes of their own: their processor seconds with all their processes, and their memory."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from benchmarks.speed.cases.hsnet import plain_formulas
from benchmarks.speed.drawn_runs import EPISODES, GRID, LONG, METHODS, make_runs, write_explored
from benchmarks.speed.harness import Case, Command
from fsbench.cli.main import main as fsbench
from fsbench.config.build import compose_method
from fsbench.paths import REPOSITORY

HSNET_BACKBONE = "resnet50_v1"


def _environment(checkout: Path = REPOSITORY) -> dict[str, str]:
    """Return the variables with which a process runs the code of a checkout."""
    own = {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1", "WANDB": "off"}
    return own | {"OMP_NUM_THREADS": str(torch.get_num_threads())}


@contextmanager
def _folder(given: str | None) -> Iterator[Path]:
    """Yield a folder that is given and kept, or a temporary one."""
    with nullcontext(given) if given else tempfile.TemporaryDirectory() as name:
        Path(name).mkdir(parents=True, exist_ok=True)
        yield Path(name).resolve()


def start_cases(
    device: torch.device, method: str = "prototype", runs: int = 4, against: str | None = None
) -> Iterator[Case]:
    """Measure what commands cost besides their episodes: on the demo with one episode a run.

    With --against another checkout is measured in turn with this one, so that other programs on the machine slow both
    alike.
    """
    checkouts = {"before": Path(against).resolve()} if against else {}
    checkouts |= {"now": REPOSITORY}
    with tempfile.TemporaryDirectory() as folder:

        def bench(checkout: Path, count: int) -> Command:
            folds = ",".join(map(str, range(count)))
            words = ["-m", "fsbench", "bench", "--method", method, "--dataset", "demo", "--fold", folds, "--force"]
            words += ["--runs", f"{folder}/{checkout.name}", "--data.episodes=1", "--data.workers=0"]
            return Command(words, _environment(checkout), Path(folder))

        commands = {
            "the import of torch alone": lambda checkout: Command(["-c", "import torch"], _environment(checkout)),
            "`fsbench --help`": lambda checkout: Command(["-m", "fsbench", "--help"], _environment(checkout)),
            "`fsbench list`": lambda checkout: Command(["-m", "fsbench", "list"], _environment(checkout)),
            "`fsbench bench`, one run": lambda checkout: bench(checkout, 1),
            f"`fsbench bench`, {runs} runs": lambda checkout: bench(checkout, runs),
        }
        first = bench(REPOSITORY, 1)  # draws the demo's images
        subprocess.run(
            [sys.executable, *first.words], cwd=folder, env=os.environ | dict(first.environment), check=True,
            capture_output=True,
        )  # fmt: skip
        for what, command in commands.items():
            yield Case(what, {name: command(checkout) for name, checkout in checkouts.items()})


def hsnet_cases(
    device: torch.device, episodes: int = 5, shot: int = 1, side: int = 400, cache_mib: int = 128
) -> Iterator[Case]:
    """Compare whole processes of `fsbench run` that evaluate HSNet at the paper's size.

    "plain" calculates by the formulas and keeps no features, "ours" is the suite with a bound on kept features. Both
    load torch and the suite; a process that only builds the method says how much that takes. Images are the demo's,
    weights random.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        method = compose_method("hsnet", "pascal", HSNET_BACKBONE, "random").build_method()
        checkpoint = {"state_dict": method.state_dict()}
        method.on_save_checkpoint(checkpoint)
        torch.save(checkpoint, folder / "random.ckpt")

        def command(path: str) -> Command:
            words = hsnet_arguments(folder, path, episodes, shot, side, 0 if path == "plain" else cache_mib)
            return Command(["-m", __name__, path, *words], _environment())

        fsbench(command("first").words[3:])  # draws the demo's images
        yield Case(
            f"`fsbench run` of HSNet, {HSNET_BACKBONE}, {side} pixels, {episodes} episodes, 1-way {shot}-shot, "
            f"features kept up to {cache_mib} MiB",
            {path: command(path) for path in ("plain", "ours")},
        )
        yield Case(
            "a process that builds HSNet and evaluates nothing",
            {"ours": Command(["-m", __name__, "nothing"], _environment())},
        )


def hsnet_arguments(folder: Path, path: str, episodes: int, shot: int, side: int, cache_mib: int) -> list[str]:
    """Return the arguments of `fsbench run` for one path."""
    files = (REPOSITORY / "configs" / name for name in ("base.yaml", "methods/hsnet.yaml", "data/demo.yaml"))
    settings = {
        "run.name": "hsnet",
        "run.runs": folder / path,
        "run.force": True,
        "run.checkpoint": folder / "random.ckpt",
        "model.backbone.name": HSNET_BACKBONE,
        "model.backbone.weights": "random",
        "model.backbone.cache_mib": cache_mib,
        "data.dataset.root": folder / "demo",
        "data.protocol": "hsnet",
        "data.image_size": side,
        "data.shot": shot,
        "data.episodes": episodes,
        "data.workers": 0,
        "trainer.accelerator": "cpu",
    }
    return ["run", *(f"--config={file}" for file in files), *(f"--{key}={value}" for key, value in settings.items())]


def run_hsnet(path: str, words: Sequence[str]) -> int:
    """Build HSNet, or run a command of fsbench on a path; return the exit status."""
    if path == "nothing":
        compose_method("hsnet", "pascal", HSNET_BACKBONE, "random").build_method()
        return 0
    with plain_formulas() if path == "plain" else nullcontext():
        return fsbench(words)


def _fsbench(cache: Path, *words: str) -> dict[str, Command]:
    return {f"fsbench {words[0]}": Command(["-m", "fsbench", *words], _environment() | {"FSBENCH_CACHE": str(cache)})}


def report_cases(device: torch.device, folder: str | None = None) -> Iterator[Case]:
    """Measure `fsbench report` on 50 methods, and with an explorer of 5000 episodes of 20 methods.

    Methods: 50 runs of 1000 episodes on each of 4 folds (five methods, ten seeds: 200 records), with the rows that a
    run keeps for tables. The cache folder holds nothing else at the first report, and what that one left at the second.
    Explorer: each method has a stored mask of 400 x 500 pixels an episode, whose outline is as long as that of an
    object. Neither has data beside it, so images and truth are no part of the time. Runs are written into --folder, or
    were by an earlier call.
    """
    with _folder(folder) as place, tempfile.TemporaryDirectory() as temporary:
        cache, out = Path(temporary) / "cache", f"{temporary}/report"
        many, explored = place / "fifty", place / "explored"
        if not many.is_dir():
            make_runs(many, LONG | {"methods": GRID["methods"], "seeds": list(range(10))}, 1000)
        for turn in ("first", "again"):
            what = f"report of 50 methods on 4 folds of 1000 episodes, {turn}"
            yield Case(what, _fsbench(cache, "report", str(many), "--out", out))
        if not explored.is_dir():
            write_explored(explored)
        what = f"report and explorer of {METHODS} methods, {EPISODES} stored masks each, first"
        yield Case(what, _fsbench(cache, "report", str(explored), "--out", out))


def table_cases(device: torch.device, folder: str | None = None) -> Iterator[Case]:
    """Measure `fsbench table`, `compare` and `grid` on many runs.

    2000 runs of 100 episodes (five methods, two data sets, four folds, 1 and 5 shots, five settings, five seeds), and
    three methods on four folds of 1000 episodes each. The first table of many runs computes the rows of means over
    folds and of predictions without a model, which no single run keeps; "without rows" are runs of another version of
    the code. Runs are written into --folder, or were by an earlier call.
    """
    with _folder(folder) as place, tempfile.TemporaryDirectory() as cache:
        many, long = place / "many", place / "long"
        for runs, grid, episodes in ((many, GRID, 100), (long, LONG, 1000)):
            if not runs.is_dir():
                make_runs(runs, grid, episodes)
        task = place / "task"  # those that can be compared
        if not task.is_dir():
            for run in many.glob("*-pascal-*-1shot-original-*"):
                shutil.copytree(run, task / run.name)
        bare = place / "bare"  # runs of another version, whose rows do not count
        if not bare.is_dir():
            for run in sorted(path for path in many.iterdir() if path.name[0] != ".")[:1000]:
                shutil.copytree(run, bare / run.name, ignore=shutil.ignore_patterns("rows"))
        commands = {
            "table, 1000 runs without rows": ["table", str(bare)],
            "table, 2000 runs": ["table", str(many)],
            "table, 2000 runs, all breakdowns": ["table", str(many), "--by", "size", "--by", "class"],
            "table, 12 long runs": ["table", str(long)],
            "compare, 12 long runs": ["compare", str(long)],
            "compare, 100 runs, 24 pairs": ["compare", str(task), "--baseline", "emat (seed 0)"],
            "grid, 2400 cells": ["grid", f"{many}.yaml", "--runs", str(many)],
            "grid, 2400 cells, JSON": ["grid", f"{many}.yaml", "--runs", str(many), "--format", "json"],
        }
        for name, words in commands.items():
            for turn in ("first", "again"):
                yield Case(f"{name}, {turn}", _fsbench(Path(cache), *words))


if __name__ == "__main__":
    sys.exit(run_hsnet(sys.argv[1], sys.argv[2:]))
