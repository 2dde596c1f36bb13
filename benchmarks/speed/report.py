"""Measure time and memory of `fsbench report` on 50 methods, and of an explorer of 5000 episodes and 20 methods.

    python -m benchmarks.speed.report [--folder FOLDER] [--only methods|explorer] [--json FILE]

Methods: 50 runs of 1000 episodes on each of 4 folds are written as in `benchmarks.speed.load` (five methods, ten seeds:
200 records), with the rows that a run keeps for tables. The cache folder holds nothing else at the first report, and
what that one left at the second.

Explorer: 20 methods on one fold of 5000 episodes, each with a stored mask of 400 x 500 pixels whose outline is as long
as that of an object. Neither kind has data beside it, so images and truth are no part of the time.

Seconds are those of the processor, of the command with all its processes; memory is that of the largest one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed.load import GRID, LONG, PIXELS, WATCH, draw_manifest, drawn_result, make_runs
from benchmarks.speed.measure import Cost, Recorder, add_json_option
from fsbench.episodes.manifest import Manifest
from fsbench.metrics.episodic import SegmentationResult
from fsbench.records.predictions import encode, write_predictions
from fsbench.records.record import counts_sha256, to_frame, write_record
from fsbench.records.run import Run

METHODS, EPISODES = 20, 5000
HEIGHT, WIDTH = 400, 500
SHAPES = 40
"""Number of objects; every episode has one of them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder",
        type=Path,
        help="where the runs are written, or were by an earlier call; default: a temporary folder",
    )
    parser.add_argument("--only", choices=("methods", "explorer"), help="one of the two measurements")
    add_json_option(parser)
    options = parser.parse_args()
    recorder = Recorder(torch.device("cpu"), "nothing: figures of one path", is_processor=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["FSBENCH_CACHE"] = str(Path(temporary) / "cache")
        many, explored = folder / "fifty", folder / "explored"
        if options.only != "explorer":
            if not many.is_dir():
                make_runs(many, LONG | {"methods": GRID["methods"], "seeds": list(range(10))}, 1000)
            for turn in ("first", "again"):
                _measure(recorder, f"report of 50 methods on 4 folds of 1000 episodes, {turn}", many, temporary)
        if options.only != "methods":
            if not explored.is_dir():
                write_explored(explored)
            _measure(recorder, f"report and explorer of {METHODS} methods, {EPISODES} stored masks each, first",
                     explored, temporary)  # fmt: skip
    recorder.write(options.json)


def _measure(recorder: Recorder, what: str, runs: Path, temporary: str) -> None:
    """Make a report in a process of its own, and keep what it cost."""
    command = ["-m", "fsbench", "report", str(runs), "--out", f"{temporary}/report"]
    done = subprocess.run([sys.executable, "-c", WATCH, sys.executable, *command], capture_output=True, text=True)
    _, user, system, peak, status = map(float, done.stderr.splitlines()[-1].split())
    if status:
        raise SystemExit(f"{what} failed: {done.stderr}")
    print(f"{what}: {user:.1f} user, {system:.1f} system, {peak / 1024:.0f} MiB", flush=True)
    recorder.add(what, "fsbench report", Cost(user + system, peak / 1024, (user + system,)))


def write_explored(runs: Path) -> None:
    """Write runs with stored masks: of an episode's object each method finds what lies in another wave's crests."""
    truths = [_blob(np.random.default_rng([7, number])) for number in range(SHAPES)]
    for method in range(METHODS):
        manifest = draw_manifest("pascal", 0, 1, "original", EPISODES)
        found = [truth & ~_blob(np.random.default_rng([method, n, 8])) for n, truth in enumerate(truths)]
        results = list(_results(manifest, truths, found))
        frame = to_frame([row for result in results for row in result.rows()], manifest)
        shapes = [encode(result, "masks") for result in results[:SHAPES]]  # the others have the same masks
        kept = ((result.episode, 1, True, shapes[result.episode % SHAPES][0]) for result in results)
        folder = runs / f"method-{method:02d}"
        folder.mkdir(parents=True)
        manifest.write(folder / "manifest.jsonl")
        identity = {
            "method": {"name": f"method {method}"}, "backbone": {"name": "b", "weights": "official"},
            "dataset": {"name": "pascal"}, "fold": 0, "image_size": 400, "manifest_sha256": manifest.sha256, "seed": 0,
            "training": None,
        }  # fmt: skip
        cost = {"trainable_parameters": 86020, "episodes_per_second": 5.0, "peak_mib": 900.0}
        run = {"id": folder.name, "identity": identity, "presence": "predicted", "cost": cost}
        run |= {"predictions": write_predictions(folder, kept, frame, "masks"), "counts_sha256": counts_sha256(frame)}
        write_record(folder, Run.model_validate(run), frame)


def _blob(rng: np.random.Generator) -> np.ndarray:
    """Draw an object (HEIGHT, WIDTH) bool: a disc whose radius is a sum of waves around it, with a fine edge."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    y0, x0 = rng.uniform(0.3, 0.7, 2) * (HEIGHT, WIDTH)
    angle, radius = np.arctan2(y - y0, x - x0), np.hypot(y - y0, x - x0)
    turns = np.linspace(-np.pi, np.pi, 2000)
    waves = sum(rng.normal() / k * np.sin(k * turns + rng.uniform(0, 6)) for k in range(1, 40))
    return np.asarray(radius < rng.uniform(50, 120) * (1 + 0.2 * np.interp(angle, turns, waves)))


def _results(manifest: Manifest, truths: list[np.ndarray], found: list[np.ndarray]) -> Iterator[SegmentationResult]:
    """Count each episode's mask without void pixels."""
    pairs = list(zip(truths, found, strict=True))
    counts = [tuple(int(mask.sum()) for mask in (truth & mine, mine, truth)) for truth, mine in pairs]
    for episode in manifest.episodes:
        shape = episode.index % SHAPES
        tp, pred, truth = counts[shape]
        result = drawn_result(episode, (tp, pred, truth), True, True)
        table = torch.tensor([[tp, pred, truth, 0, 0, PIXELS]] * 2)
        yield replace(result, counts=table, label_map=torch.from_numpy(found[shape].astype(np.uint8)))


if __name__ == "__main__":
    main()
