"""What a run keeps of its predictions for its picture."""

import io
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fsbench.engine.callbacks import ProgressInLines, ResultWriter, kept_predictions
from fsbench.episodes.samplers import Episode
from fsbench.metrics.episodic import SegmentationResult

EPISODES = [Episode(index, "query", 1, (1, 2), (("a",), ("b",))) for index in range(3)]


def archive(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """With the predictions of episodes 0 and 1, none of episode 2, and one that is not asked for."""
    recorder = ResultWriter(None, None, tmp_path, set())
    nothing = torch.zeros(0)
    for index in (0, 1, 7):
        label_map = torch.full((3, 4), index, dtype=torch.uint8)
        decided = torch.tensor([True, False])
        recorder._keep(SegmentationResult(index, nothing, nothing, decided, decided, nothing, label_map))
    return tmp_path


def test_predictions_are_kept_as_they_are(folder):
    found = kept_predictions(folder, EPISODES)
    assert list(found) == [0, 1]
    for index, (label_map, decided) in found.items():
        assert label_map.shape == (3, 4) and (label_map == index).all() and decided == [True, False]


DAMAGES = {
    "empty": b"",
    "no archive": b"no archive",
    "a pickle": b"\x80\x04K\x01.",
    "cut off": archive(label_map=np.zeros((3, 4), np.uint8), decided=np.zeros(2, bool))[:-30],
    "no decisions": archive(label_map=np.zeros((3, 4), np.uint8)),
    "a number": archive(label_map=np.uint8(1), decided=np.zeros(2, bool)),
    "one way": archive(label_map=np.zeros((3, 4), np.uint8), decided=np.zeros(1, bool)),
    "objects": archive(label_map=np.array([None]), decided=np.zeros(2, bool)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_prediction_counts_as_absent(folder, caplog, damage):
    (folder / "000000.npz").write_bytes(DAMAGES[damage])
    with caplog.at_level(logging.WARNING, "fsbench"):
        assert list(kept_predictions(folder, EPISODES)) == [1]
    (record,) = caplog.records
    assert "000000.npz cannot be read" in record.getMessage() and "left out of the picture" in record.getMessage()


def test_a_line_of_progress_names_the_last_validation_in_percent(capsys, monkeypatch):
    """`val/mIoU` is logged in percent, as every score is."""
    monkeypatch.setattr("fsbench.progress.SECONDS", 0)
    trainer = SimpleNamespace(
        is_global_zero=True, current_epoch=1, max_epochs=4, num_training_batches=9,
        fit_loop=SimpleNamespace(batch_idx=2), callback_metrics={},
    )  # fmt: skip
    lines = ProgressInLines()
    lines.on_train_batch_end(trainer)
    trainer.callback_metrics["val/mIoU"] = torch.tensor(43.211)
    lines.on_train_batch_end(trainer)
    first, second = "".join(capsys.readouterr()).splitlines()
    assert "mIoU" not in first
    assert second.endswith("training: epoch 2 of 4, batch 3 of 9; last validation: mIoU 43.21")
