"""Callbacks of a run."""

from types import SimpleNamespace

import torch

from fsbench.engine.callbacks import ProgressInLines


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
