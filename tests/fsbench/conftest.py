"""Records on disk whose predictions are known."""

import pytest
import torch

from datamodules.datasets.folder import Folder
from fsbench.data.transforms import way_labels
from fsbench.episodes.draw import draw_manifest
from fsbench.episodes.protocol import load_protocol
from fsbench.episodes.task import EpisodeTask
from fsbench.metrics.episodic import SegmentationResult, count
from fsbench.metrics.regions import slot_regions
from fsbench.records.record import Record, to_frame, write_record


@pytest.fixture
def make(blocks_folder, tmp_path):
    """make(method, fold, quality, **task) -> a record whose predictions show the truth on every `quality`-th row.

    `spill` predicts way 1 on void pixels; `wrong` decides the opposite of the truth in the first episodes; `presence`
    is the rule by which presence was decided."""
    index, protocol = Folder(str(blocks_folder)), load_protocol("fscs")

    def make(
        method: str, fold: int, quality: int = 1, seed: int = 0, weights: str = "official x", training=None,
        spill: bool = False, wrong: int = 0, presence: str = "predicted", regions: bool = True, **task,
    ) -> Record:  # fmt: skip
        manifest = draw_manifest(index, protocol, EpisodeTask(fold, **{"episodes": 24, **task}))
        rows = []
        for e in manifest.episodes:
            truth = torch.from_numpy(way_labels(index.label_map(e.query), e.classes))
            prediction = torch.where(truth == 255, int(spill), truth).clone()
            prediction[torch.arange(len(prediction)) % quality != 0] = 0
            ways = len(e.classes)
            present = torch.tensor([bool((truth == n + 1).any()) for n in range(ways)])
            decided = ~present if e.index < wrong else present
            measured = slot_regions(prediction, truth, ways) if regions else ()
            counts = count(prediction, truth, ways)
            result = SegmentationResult(
                e.index, torch.tensor(e.classes), counts, present, decided, decided.float(), prediction, *measured
            )
            rows += result.rows()
        folder = tmp_path / f"{method}-{fold}-{quality}-{seed}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        manifest.write(folder / "manifest.jsonl")
        identity = {
            "method": {"name": method}, "backbone": {"name": "b", "weights": weights}, "fold": fold, "seed": seed,
            "manifest_sha256": manifest.sha256, "training": training or {"validation_sha256": str(fold)},
        }  # fmt: skip
        cost = {"trainable_parameters": 86020, "episodes_per_second": 12.345, "peak_mib": 1234.5}
        run = {"id": folder.name, "identity": identity, "presence": presence, "cost": cost}
        return write_record(folder, run, to_frame(rows, manifest))

    return make
