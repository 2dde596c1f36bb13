"""Measure time and memory of `fsbench table`, `compare` and `grid` on many runs.

    python -m benchmarks.speed.load [--folder FOLDER]

Writes finished runs with the suite's own writer of records and calls the real command line, the interpreter's start
included: 2000 runs of 100 episodes (five methods, two data sets, four folds, 1 and 5 shots, five settings, five seeds),
and three methods on four folds of 1000 episodes each. Counts are drawn so that better methods are better; the images
they stand for are the same for all methods.

Two CPU cores that four times as much other work shared, so that processor seconds tell more; peak memory:

    table, 2000 runs, again        1.0 user   74 MiB    compare, 12 long runs        1.2 user  119 MiB
      with all breakdowns, again   1.4 user  104 MiB    compare, 100 runs, 24 pairs  1.2 user  154 MiB
    table, 12 long runs, first     1.2 user  140 MiB    grid, 2400 cells             1.1 user   59 MiB
    table, 2000 runs, first        7.0 user  196 MiB      the same as JSON           1.1 user   69 MiB
      with all breakdowns, first  19.4 user  262 MiB    table, 1000 runs without
                                                          rows, first               10.9 user  177 MiB

The first table of many runs computes the rows of means over folds and of predictions without a model, which no single
run keeps; "without rows" are runs of another version of the code.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from fsbench.engine.provenance import processor
from fsbench.episodes.episode import Episode
from fsbench.episodes.manifest import Manifest
from fsbench.files import fingerprint
from fsbench.grid.spec import GridCell, read_grid
from fsbench.metrics.episodic import SegmentationResult
from fsbench.records.record import Record, counts_sha256, to_frame, write_record
from fsbench.records.run import Run
from fsbench.tables.table import build_blocks

GRID: dict[str, Any] = {
    "methods": ["prototype", "cst", "emat", "hsnet", "dcama"],
    "datasets": ["pascal", "coco"],
    "folds": [0, 1, 2, 3],
    "ways": [1],
    "shots": [1, 5],
    "settings": ["original", "0-5", "5-10", "10-15", "0-15"],
    "seeds": [0, 1, 2, 3, 4],
}
MORE_SEEDS = [5]
"""Seeds of the listed grid that have no runs."""
LONG = GRID | {
    "methods": ["cst", "emat", "dcama"],
    "datasets": ["pascal"],
    "shots": [1],
    "settings": ["original"],
    "seeds": [0],
}
WATCH = """
import os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:])
_, status, used = os.wait4(process.pid, 0)
print(time.perf_counter() - started, used.ru_utime, used.ru_stime, used.ru_maxrss, status, file=sys.stderr)
"""
"""Program of a small process that starts the command: a child's peak memory counts that of the process it was forked
from, so this one must be small."""
QUALITY = {"prototype": 0.5, "cst": 0.6, "emat": 0.7, "hsnet": 0.55, "dcama": 0.65}
"""How good the drawn predictions of each method are, in [0, 1]."""
PIXELS = 400 * 500
"""Pixels of an image."""


def make_runs(runs: Path, grid: dict[str, Any], episodes: int) -> None:
    """Write a finished run for every cell of `grid`, and the notes that tell `fsbench grid` where they are."""
    file = runs.with_suffix(".yaml")
    runs.mkdir(parents=True)
    file.write_text(yaml.safe_dump(grid))
    cells = read_grid([file])
    file.write_text(yaml.safe_dump(grid | {"seeds": grid["seeds"] + MORE_SEEDS}))
    for cell in cells:
        _note(runs, cell, write_run(runs, cell, episodes))
    for cell in read_grid([file]):
        if cell.request.seed in MORE_SEEDS:
            _note(runs, cell, "missing-" + cell.fingerprint(runs))


def _note(runs: Path, cell: GridCell, folder: str) -> None:
    """Write the note that the run of `cell` is in `folder`."""
    note = runs / ".grid" / "cells" / f"{cell.fingerprint(runs)}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"folder": folder, "cell": cell.label}))


def write_run(runs: Path, cell: GridCell, episodes: int) -> str:
    """Write a finished run of `cell`; returns the name of its folder."""
    request = cell.request
    manifest = draw_manifest(request.dataset, cell.fold, request.shot or 1, request.setting, episodes)
    rows = [row for result in _results(cell, manifest) for row in result.rows()]
    identity = {
        "method": {"name": cell.method, "type": cell.method},
        "backbone": {"name": "dinov2_vits14", "weights": "official"},
        "dataset": {"name": cell.request.dataset},
        "fold": cell.fold,
        "image_size": 700,
        "manifest_sha256": manifest.sha256,
        "seed": cell.request.seed,
        "training": {"max_epochs": 80},
    }
    task = f"{cell.request.dataset}-fold{cell.fold}-{cell.request.shot}shot-{cell.request.setting}"
    name = f"{cell.method}-{task}-{fingerprint(identity)[:10]}"
    folder = runs / name
    folder.mkdir()
    manifest.write(folder / "manifest.jsonl")
    cost = {"trainable_parameters": 86020, "episodes_per_second": 5.0, "peak_mib": 900.0}
    scores = {"mIoU": 50.0, "FB-IoU": 70.0, "accuracy": 80.0}
    frame = to_frame(rows, manifest)
    run = {"id": name, "identity": identity, "presence": "predicted", "cost": cost, "scores": scores}
    write_record(folder, Run.model_validate(run | {"counts_sha256": counts_sha256(frame)}), frame, [keep_rows])
    return name


def keep_rows(record: Record) -> None:
    """Store the rows of the run's tables, as a run does at its end."""
    for by_class in (False, True):
        build_blocks([record], by_class=by_class)


def draw_manifest(dataset: str, fold: int, shot: int, setting: str, count: int) -> Manifest:
    """Draw a manifest of `count` 1-way episodes, the same for all methods."""
    classes = [5 * fold + n for n in range(1, 6)]
    rng = np.random.RandomState([fold, shot])
    images = [f"2008_{n:06d}" for n in range(400)]
    episodes = []
    for index in range(count):
        names = [images[n] for n in rng.choice(400, 1 + shot, replace=False)]
        number = int(rng.choice(classes))
        episodes.append(Episode(index, names[0], number, (number,), (tuple(names[1:]),)))
    header = {
        "protocol": "fscs", "version": 1, "dataset": dataset, "fold": fold, "way": 1,
        "shot": shot, "setting": setting, "empty": True,
        "classes": "novel", "episodes": count, "drop_small": False,
        "seed": None, "class_ids": classes, "class_names": {str(n): f"class {n}" for n in classes}, "folds": 4,
        "requested": count, "official_episodes": 1000, "dropped_classes": [], "lists": "official",
        "lists_sha256": "0", "all_lists_sha256": "0",
    }  # fmt: skip
    return Manifest(header, tuple(episodes))


def _results(cell: GridCell, manifest: Manifest) -> Iterator[SegmentationResult]:
    """Draw the result of every episode; better methods have better ones."""
    images = np.random.RandomState([cell.fold, cell.request.shot or 1, 1])  # the queries, the same for all
    predictions = np.random.RandomState([cell.fold, cell.request.seed or 0, *cell.method.encode()])
    for episode in manifest.episodes:
        present = images.uniform() < 0.6
        truth = int(images.uniform(0.005, 0.3) * PIXELS) * present
        tp = int(truth * predictions.beta(8 * QUALITY[cell.method], 3))
        pred = tp + int(predictions.exponential(0.02) * PIXELS)
        decided = present if predictions.uniform() < QUALITY[cell.method] + 0.2 else not present
        yield drawn_result(episode, (tp, pred, truth), present, decided)


def drawn_result(episode: Episode, counts: tuple[int, int, int], present: bool, decided: bool) -> SegmentationResult:
    """Return a result of a 1-way episode that nobody predicted.

    Args:
        episode: its query has `PIXELS` pixels, 1000 of them void.
        counts: pixels of the class found, predicted and there.
        present, decided: whether the query shows the class, and whether the method says so.
    """
    return SegmentationResult(
        episode.index,
        torch.tensor(episode.classes),
        torch.tensor([[*counts, 0, 1000, PIXELS - 1000]] * 2),
        torch.tensor([present]),
        torch.tensor([decided]),
        torch.tensor([float(decided)]),
        torch.empty(0),
        torch.zeros(2),
        torch.zeros(2),
    )


def call(*arguments: str) -> str:
    """Run the command line in a process of its own; returns its seconds, memory and number of lines as text."""
    command = [sys.executable, "-c", WATCH, sys.executable, "-m", "fsbench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    seconds, user, system, peak, status = map(float, done.stderr.splitlines()[-1].split())
    cost = f"{seconds:6.2f} s ({user:5.2f} user, {system:4.2f} system) {peak / 1024:4.0f} MiB"
    return f"{cost}, {len(done.stdout.splitlines())} lines{'' if status == 0 else f', FAILED with {status:.0f}'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder",
        type=Path,
        help="where the runs are written, or were by an earlier call; default: a temporary folder",
    )
    options = parser.parse_args()
    print(f"{processor()}; seconds and peak memory of whole processes, compared with nothing", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        many, long = folder / "many", folder / "long"
        for runs, grid, episodes in ((many, GRID, 100), (long, LONG, 1000)):
            if not runs.is_dir():
                make_runs(runs, grid, episodes)
        task = folder / "task"  # those that can be compared
        if not task.is_dir():
            for run in many.glob("*-pascal-*-1shot-original-*"):
                shutil.copytree(run, task / run.name)
        bare = folder / "bare"  # runs of another version, whose rows do not count
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
        for name, arguments in commands.items():
            for turn in ("first", "again"):
                print(f"{name:34} {turn} {call(*arguments)}", flush=True)


if __name__ == "__main__":
    main()
