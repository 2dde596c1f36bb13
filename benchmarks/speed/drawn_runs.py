"""Finished runs of made-up counts, written with the suite's own writer of records, for measuring what reads them.

Counts are drawn so that better methods are better; the images they stand for are the same for all methods.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fsbench.base.files import fingerprint
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.records.counts import hashes, to_frame
from fsbench.records.predictions import encode, write_predictions
from fsbench.records.run import TRAINED_HERE, UNTRAINED, Run
from fsbench.records.writing import write_files
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.grid.plan import run_fingerprint
from fsbench.runner.grid.spec import read_grid
from fsbench.runner.grid.words import run_label
from fsbench.scores.answers import SegmentationResult

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
QUALITY = {"prototype": 0.5, "cst": 0.6, "emat": 0.7, "hsnet": 0.55, "dcama": 0.65}
"""How good the drawn predictions of each method are, in [0, 1]."""
PIXELS = 400 * 500
"""Pixels of an image."""
METHODS, EPISODES = 20, 5000
HEIGHT, WIDTH = 400, 500
SHAPES = 40
"""Number of objects; every episode has one of them."""


def make_runs(runs: Path, grid: dict[str, Any], episodes: int) -> None:
    """Write a finished run for every cell of `grid`, and the notes that tell `fsbench grid` where they are."""
    file = runs.with_suffix(".yaml")
    runs.mkdir(parents=True)
    file.write_text(yaml.safe_dump(grid))
    cells = read_grid([file], runs=str(runs))
    file.write_text(yaml.safe_dump(grid | {"seeds": grid["seeds"] + MORE_SEEDS}))
    for cell in cells:
        _note(runs, cell, write_run(runs, cell, episodes))
    for cell in read_grid([file], runs=str(runs)):
        if cell.seed in MORE_SEEDS:
            _note(runs, cell, "missing-" + run_fingerprint(cell))


def _note(runs: Path, cell: RunConfig, folder: str) -> None:
    """Write the note that the run of `cell` is in `folder`."""
    note = runs / ".grid" / "cells" / f"{run_fingerprint(cell)}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"folder": folder, "cell": run_label(cell)}))


def write_run(runs: Path, cell: RunConfig, episodes: int) -> str:
    """Write a finished run of `cell`; returns the name of its folder."""
    request = cell
    manifest = draw_manifest(request.dataset, cell.fold, request.shot or 1, request.setting or "original", episodes)
    identity = _identity(cell.name, manifest, 700) | {"seed": request.seed, "training": {"max_epochs": 80}}
    task = f"{request.dataset}-fold{cell.fold}-{request.shot}shot-{request.setting}"
    name = f"{cell.name}-{task}-{fingerprint(identity)[:10]}"
    frame = to_frame([row for result in _results(cell, manifest) for row in result.rows()], manifest)
    _write(runs / name, identity, manifest, frame, None)
    return name


def _identity(method: str, manifest: Manifest, side: int) -> dict[str, Any]:
    """Return what tells the run of a method on a manifest from others, with images of `side` pixels."""
    return {
        "method": {"name": method, "type": method}, "backbone": {"name": "dinov2_vits14", "weights": "official"},
        "dataset": {"name": manifest.header.dataset}, "fold": manifest.header.fold, "image_size": side,
        "manifest_sha256": manifest.sha256, "seed": 0, "training": None,
    }  # fmt: skip


def _write(folder: Path, identity: dict[str, Any], manifest: Manifest, frame: Any, kept: Any) -> None:
    """Write a run's manifest, its predictions where some are `kept`, and its record."""
    folder.mkdir(parents=True)
    manifest.write(folder / "manifest.jsonl")
    cost = {"trainable_parameters": 86020, "episodes_per_second": 5.0, "peak_mib": 900.0}
    run: dict[str, Any] = {"id": folder.name, "identity": identity, "presence": "predicted", "cost": cost}
    run["scores"] = {"mIoU": 50.0, "FB-IoU": 70.0, "accuracy": 80.0}
    run["told"] = {"supervision": ["masks"], "saw_test_classes": "no"}
    settings = identity["training"]
    training = None if settings is None else {"settings": settings, "method": identity["method"]}
    run["weights"] = {"origin": UNTRAINED if settings is None else TRAINED_HERE, "training": training}
    if kept is not None:
        run["predictions"] = write_predictions(folder, kept, frame, "masks")
    write_files(folder, Run.model_validate(run | hashes(frame)), frame)


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


def _results(cell: RunConfig, manifest: Manifest) -> Iterator[SegmentationResult]:
    """Draw the result of every episode; better methods have better ones."""
    images = np.random.RandomState([cell.fold, cell.shot or 1, 1])  # the queries, the same for all
    predictions = np.random.RandomState([cell.fold, cell.seed or 0, *cell.name.encode()])
    truths: dict[tuple[str, int], tuple[bool, int]] = {}
    for episode in manifest.episodes:
        present = images.uniform() < 0.6
        truth = int(images.uniform(0.005, 0.3) * PIXELS) * present
        present, truth = truths.setdefault((episode.query, episode.classes[0]), (present, truth))
        tp = int(truth * predictions.beta(8 * QUALITY[cell.name], 3))
        pred = tp + int(predictions.exponential(0.02) * PIXELS)
        decided = present if predictions.uniform() < QUALITY[cell.name] + 0.2 else not present
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
        np.array(episode.classes),
        np.array([[*counts, 0, 1000, PIXELS - 1000]] * 2),
        np.array([present]),
        np.array([decided]),
        np.array([float(decided)]),
        np.empty(0),
        np.zeros(2),
        np.zeros(2),
    )


def write_explored(runs: Path) -> None:
    """Write runs with stored masks: of an episode's object each method finds what lies in another wave's crests."""
    truths = [_blob(np.random.default_rng([7, number])) for number in range(SHAPES)]
    for method in range(METHODS):
        manifest = draw_manifest("pascal", 0, 1, "original", EPISODES)
        found = [truth & ~_blob(np.random.default_rng([method, n, 8])) for n, truth in enumerate(truths)]
        shape = _shapes(manifest)
        results = list(_explored_results(manifest, shape, truths, found))
        frame = to_frame([row for result in results for row in result.rows()], manifest)
        masks = {shape[result.episode]: result for result in results}
        encoded = {number: encode(result, "masks")[0] for number, result in masks.items()}
        kept = ((result.episode, 1, True, encoded[shape[result.episode]]) for result in results)
        _write(runs / f"method-{method:02d}", _identity(f"method {method}", manifest, 400), manifest, frame, kept)


def _blob(rng: np.random.Generator) -> np.ndarray:
    """Draw an object (HEIGHT, WIDTH) bool: a disc whose radius is a sum of waves around it, with a fine edge."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    y0, x0 = rng.uniform(0.3, 0.7, 2) * (HEIGHT, WIDTH)
    angle, radius = np.arctan2(y - y0, x - x0), np.hypot(y - y0, x - x0)
    turns = np.linspace(-np.pi, np.pi, 2000)
    waves = sum(rng.normal() / k * np.sin(k * turns + rng.uniform(0, 6)) for k in range(1, 40))
    return np.asarray(radius < rng.uniform(50, 120) * (1 + 0.2 * np.interp(angle, turns, waves)))


def _shapes(manifest: Manifest) -> list[int]:
    """Return the number of each episode's object, the same wherever a query and a class come again."""
    numbers: dict[tuple[str, int], int] = {}
    return [numbers.setdefault((e.query, e.classes[0]), len(numbers) % SHAPES) for e in manifest.episodes]


def _explored_results(
    manifest: Manifest, shapes: list[int], truths: list[np.ndarray], found: list[np.ndarray]
) -> Iterator[SegmentationResult]:
    """Count each episode's mask without void pixels."""
    pairs = list(zip(truths, found, strict=True))
    counts = [tuple(int(mask.sum()) for mask in (truth & mine, mine, truth)) for truth, mine in pairs]
    for episode, shape in zip(manifest.episodes, shapes, strict=True):
        tp, pred, truth = counts[shape]
        result = drawn_result(episode, (tp, pred, truth), True, True)
        table = np.array([[tp, pred, truth, 0, 0, PIXELS]] * 2)
        yield replace(result, counts=table, label_map=found[shape].astype(np.uint8))
