"""Commands that read many finished runs: their processor seconds with all their processes, and their memory.

The runs are copies of two that `fsbench bench` makes on the demo: they differ in their names and seeds alone.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from benchmarks.speed.harness import Case, Command, command_cost

METHODS = "prototype,blind_centre"
"""Methods without training, in turns the one that is copied."""


def table_cases(
    device: torch.device, folder: str | None = None, runs: int = 500, episodes: int = 200
) -> Iterator[Case]:
    """Measure `fsbench table` of many runs, and `fsbench compare` of twenty.

    --runs and --episodes are the number of runs and of the episodes of each. Runs are written into --folder, or were by
    an earlier call.
    """
    with _copies(folder, runs, episodes) as many, _copies(None if folder is None else f"{folder}-20", 20, 100) as few:
        yield _case(f"table, {runs} runs of {episodes} episodes", "table", str(many))
        yield _case("compare, 20 runs of 100 episodes", "compare", str(few))


def report_cases(
    device: torch.device, folder: str | None = None, runs: int = 20, episodes: int = 200
) -> Iterator[Case]:
    """Measure `fsbench report` of runs whose masks are stored, which shows them in the explorer; options as above."""
    with _copies(folder, runs, episodes) as many, tempfile.TemporaryDirectory() as out:
        what = f"report and explorer of {runs} methods, {episodes} stored masks each"
        yield _case(what, "report", str(many), "--out", f"{out}/report")


def _case(what: str, *words: str) -> Case:
    return Case(what, {"fsbench": Command(["-m", "fsbench", *words])})


@contextmanager
def _copies(given: str | None, runs: int, episodes: int) -> Iterator[Path]:
    """Yield a folder with so many runs: the given one, which is kept, or a temporary one."""
    with nullcontext(given) if given else tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as made:
        folder = Path(name).resolve() / f"{runs}-of-{episodes}"
        if not folder.is_dir():
            words = ["bench", f"--method={METHODS}", "--dataset=demo", f"--runs={made}", "--keep-predictions=masks"]
            words += [f"--data.test.episodes={episodes}", "--trainer.accelerator=cpu"]
            command_cost(Command(["-m", "fsbench", *words]))
            originals = sorted(path.parent for path in Path(made).glob("*/run.json"))
            for number in range(runs):
                _copy(originals[number % len(originals)], folder, number)
        yield folder


def _copy(original: Path, folder: Path, number: int) -> None:
    """Copy a run under another name and seed."""
    copy = folder / f"{original.name}-{number}"
    shutil.copytree(original, copy)
    run = json.loads((copy / "run.json").read_text())
    run["id"] = copy.name
    run["identity"]["seed"] = number
    run["identity"]["method"]["name"] += f" {number % 20}"
    (copy / "run.json").write_text(json.dumps(run))
