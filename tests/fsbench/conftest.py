"""Records on disk whose predictions are known."""

from collections.abc import Callable
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import Task
from fsbench.data.label_maps import way_labels
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.draws.classes import classification_episodes
from fsbench.protocols.reading import load_protocol
from fsbench.records.counts import to_frame
from fsbench.records.predictions import encode, write_predictions
from fsbench.records.record import Record
from fsbench.records.run import Keep
from fsbench.scores.answers import SOFT_SIDE, SegmentationResult, count
from fsbench.scores.classification import ClassificationResult
from fsbench.scores.regions import slot_regions
from tests.fsbench.runs import some_run, written


def ramp(ways: int) -> torch.Tensor:
    """Return maps (N, `SOFT_SIDE`, `SOFT_SIDE`) that grow from left to right: (3 x + the number of the way) / 255."""
    columns = 3 * torch.arange(SOFT_SIDE).expand(SOFT_SIDE, -1)
    return torch.stack([columns + way for way in range(1, ways + 1)]) / 255


def record_maker(data: Path, runs: Path) -> Callable[..., Record]:
    """make(method, fold, quality, **task) -> a record in `runs` whose predictions show the truth on every `quality`-th
    row.

    `spill` predicts way 1 on void pixels; `wrong` decides the opposite of the truth in the first episodes; `presence`
    is the rule by which presence was decided; `keep` is how much of the predictions is kept; `attends`, the meaning of
    its attention, gives way n the value (n + 3 x) / 255 in column x; `protocol` draws and scores the episodes."""
    dataset = Folder(str(data))
    label_map = cache(dataset.label_map)

    def make(
        method: str, fold: int, quality: int = 1, seed: int = 0, weights: str = "official x", training=None,
        spill: bool = False, wrong: int = 0, presence: str = "predicted", regions: bool = True,
        keep: Keep = "none", attends: str = "", protocol: str = "fscs", **task,
    ) -> Record:  # fmt: skip
        manifest = load_protocol(protocol).manifest(dataset, Task(fold, **{"episodes": 24, **task}))
        rows, kept = [], []
        for e in manifest.episodes:
            truth = way_labels(label_map(e.query), e.classes)
            prediction = np.where(truth == 255, np.uint8(spill), truth)
            prediction[np.arange(len(prediction)) % quality != 0] = 0
            ways = len(e.classes)
            present = np.array([bool((truth == n + 1).any()) for n in range(ways)])
            decided = ~present if e.number < wrong else present
            measured = slot_regions(prediction, truth, ways) if regions else ()
            counts = count(prediction, truth, ways)
            layers = torch.from_numpy(np.stack([prediction == n + 1 for n in range(ways)])).float()
            soft = (255 * adaptive_avg_pool2d(layers, SOFT_SIDE)).byte().numpy()
            result = SegmentationResult(
                e.number, np.array(e.classes), counts, present, decided, decided.astype(np.float32), prediction,
                *(measured or (None, None)), soft, ramp(ways).numpy() if attends else None,
            )  # fmt: skip
            rows += result.rows()
            kept += [(e.number, way, True, found) for way, found in enumerate(encode(result, keep), 1)]
        identity = {
            "method": {"name": method}, "backbone": {"name": "b", "weights": weights}, "fold": fold, "seed": seed,
            "manifest_sha256": manifest.sha256, "training": training or {"validation_sha256": str(fold)},
        }  # fmt: skip
        digits = some_run(identity).identity.digits
        folder = runs / f"{method}-{fold}-{quality}-{seed}-{len(list(runs.iterdir()))}-{digits}"
        folder.mkdir()
        manifest.write(folder / "manifest.jsonl")
        cost = {"trainable_parameters": 86020, "episodes_per_second": 12.345, "peak_mib": 1234.5}
        run = {"identity": identity, "presence": presence, "cost": cost}
        frame = to_frame(rows, manifest)
        if write_predictions(folder, kept, frame, keep):
            run["attention"] = attends
        return written(folder, frame, **run)

    return make


@pytest.fixture
def make(blocks_folder: Path, tmp_path: Path) -> Callable[..., Record]:
    """A maker of records in the test's own folder, see `record_maker`."""
    return record_maker(blocks_folder, tmp_path)


@pytest.fixture(scope="module")
def shared_make(blocks_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Record]:
    """A maker of records that all tests of a module read, see `record_maker`."""
    return record_maker(blocks_folder, tmp_path_factory.mktemp("shared"))


def classification_maker(runs: Path) -> Callable[[str, int], Record]:
    """make(method, wrong) -> a record in `runs` of 2-way classification, `wrong` of three queries a class named
    wrongly in every episode."""
    header = {
        "kind": "classification", "protocol": "fort", "version": 1, "dataset": "photos", "fold": 0, "folds": 1,
        "way": 2, "shot": 1, "queries": 3, "setting": "original", "classes": "all", "empty": False,
        "seed": 0, "lists": "derived",
        "min_class_size": None, "filled_classes": 0, "all_lists_sha256": "", "dropped_classes": [], "requested": 30,
        "official_episodes": 2000, "class_ids": [1, 2], "class_names": {"1": "a", "2": "b"},
    }  # fmt: skip
    manifest = Manifest(header, tuple(islice(classification_episodes([9, 9], 2, 1, 3), 30)))

    def make(method: str, wrong: int) -> Record:
        rows = []
        for e in manifest.episodes:
            named = np.arange(2)[:, None].repeat(3, 1)
            named[:, :wrong] = 1 - named[:, :wrong]
            rows += ClassificationResult(e.number, tuple(c + 1 for c in e.classes), named).rows()
        identity = {
            "method": {"name": method}, "backbone": {"name": "b", "weights": "official x"}, "fold": 0, "seed": 0,
            "manifest_sha256": manifest.sha256, "training": None,
        }  # fmt: skip
        folder = runs / f"{method}-{some_run(identity).identity.digits}"
        folder.mkdir()
        manifest.write(folder / "manifest.jsonl")
        cost = {"trainable_parameters": 0, "episodes_per_second": 1.0, "peak_mib": 1.0}
        told = {"supervision": ["image labels"], "saw_test_classes": "no"}
        run = {"identity": identity, "told": told, "presence": "predicted", "cost": cost}
        return written(folder, to_frame(rows, manifest), **run)

    return make


@pytest.fixture
def classified(tmp_path: Path) -> Callable[[str, int], Record]:
    """A maker of records of classification in the test's own folder, see `classification_maker`."""
    return classification_maker(tmp_path)
