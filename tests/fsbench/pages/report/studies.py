"""Records of made-up methods with as many folds, classes and episodes as a page is to be tried with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.datamodules.datasets.coco.dataset import CLASS_NAMES
from fsbench.records.counts import to_frame
from fsbench.records.record import Record
from fsbench.scores.answers import SegmentationResult
from tests.drawn_results import PIXELS, drawn_result
from tests.fsbench.runs import HEADER, written


def write_study(
    runs: Path, methods: Mapping[str, float], folds: int = 4, classes: int = 80, episodes: int = 400, epochs: int = 0,
    **header: Any,
) -> list[Record]:  # fmt: skip
    """Write a run of every method on every fold.

    Args:
        runs: Folder of the runs, which is made.
        methods: Label -> how good the method is, in [0, 1]; a setting follows in parentheses: "emat (shots 5)".
        folds: Number of folds, all of which there are.
        classes: Number of classes over all folds.
        episodes: Number of episodes of a fold.
        epochs: Number of epochs of a learning curve; 0: none.
        header: Further entries of the header; every episode has its `shot` supports.
    """
    records = []
    for fold in range(folds):
        manifest = _manifest(fold, folds, classes, episodes, header)
        for number, (label, quality) in enumerate(methods.items()):
            folder = runs / f"run-{fold}-{number}"
            folder.mkdir(parents=True)
            manifest.write(folder / "manifest.jsonl")
            name, _, setting = label.partition(" (")
            method = {"name": name} | ({"variant": setting[:-1]} if setting else {})
            identity = {
                "method": method, "backbone": {"name": "dinov2_vits14", "weights": "official"}, "fold": fold,
                "dataset": {"name": manifest.header.dataset}, "seed": 0, "manifest_sha256": manifest.sha256,
                "training": {"epochs": 80},
            }  # fmt: skip
            cost = {
                "trainable_parameters": 20_000 * (number + 1), "total_parameters": 22_000_000 + 20_000 * (number + 1),
                "episodes_per_second": 12.5 / (number + 1), "peak_mib": 800.0 + 35 * number,
            }  # fmt: skip
            run = {"id": folder.name, "identity": identity, "presence": "predicted", "cost": cost}
            run["provenance"] = {"device": "cpu"}
            rows = [row for result in _results(manifest, fold, number, quality) for row in result.rows()]
            records.append(written(folder, to_frame(rows, manifest), **run))
            if epochs:
                curve = folder / "curves" / "version_0" / "metrics.csv"
                curve.parent.mkdir(parents=True)
                lines = [f"{epoch},{100 * quality * (1 - 0.5 ** (epoch + 1)):.4f}" for epoch in range(epochs)]
                curve.write_text("\n".join(["epoch,val/mIoU", *lines]) + "\n")
    return records


def _manifest(fold: int, folds: int, classes: int, count: int, header: Mapping[str, Any]) -> Manifest:
    numbers = [n for n in range(1, classes + 1) if (n - 1) % folds == fold]
    rng = np.random.default_rng([fold, 7])
    episodes = []
    for episode in range(count):
        number = numbers[episode % len(numbers)]
        query = f"{int(rng.integers(0, 300)):012d}"
        supports = (f"{int(rng.integers(300, 600)):012d}",) * header.get("shot", 1)
        episodes.append(Episode(episode, query, number, (number,), (supports,)))
    own = {
        "dataset": "coco" if (folds, classes) == (4, 80) else "like_coco",
        "fold": fold, "folds": folds, "class_ids": numbers, "requested": count,
        "class_names": {str(n): CLASS_NAMES[n - 1] for n in numbers},
    }  # fmt: skip
    return Manifest(HEADER | own | header, tuple(episodes))


def _results(manifest: Manifest, fold: int, method: int, quality: float) -> list[SegmentationResult]:
    """Draw the result of every episode; queries are the same for all, better methods have better answers."""
    images = np.random.default_rng([fold, 1])
    answers = np.random.default_rng([fold, method, 2])
    of_class = np.random.default_rng([method, 3]).normal(0, 0.08, 81)  # each method has classes of its own
    results = []
    truths: dict[tuple[str, int], tuple[bool, int]] = {}
    for episode in manifest.episodes:
        present = bool(images.uniform() < 0.7)
        truth = int(images.uniform(0.005, 0.3) * PIXELS) * present
        present, truth = truths.setdefault((episode.query, episode.classes[0]), (present, truth))
        share = np.clip(quality + of_class[episode.classes[0]] + answers.normal(0, 0.15), 0.02, 0.98)
        found = int(truth * share)
        predicted = found + int(answers.exponential(0.05) * PIXELS * (1 - quality))
        decided = present if answers.uniform() < quality + 0.25 else not present
        results.append(drawn_result(episode, (found, predicted, truth), present, decided))
    return results
