"""Callbacks of a run."""

from types import SimpleNamespace

import torch

from fsbench.runner.engine.callbacks import ProgressInLines, TimeEstimate


def test_a_line_of_progress_names_the_last_validation_in_percent(capsys, monkeypatch):
    """`val/mIoU` is logged in percent, as every score is."""
    monkeypatch.setattr("fsbench.base.progress.SECONDS", 0)
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


def test_a_training_says_after_its_second_step_how_long_it_takes(monkeypatch, capsys):
    """Seven epochs of ten steps, of which two are made: 68 of half a second are left."""
    moments = iter([100.0, 100.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(moments))
    told = TimeEstimate()
    trainer = SimpleNamespace(is_global_zero=True, max_epochs=7, current_epoch=0, num_training_batches=10)
    for batch in range(4):
        trainer.fit_loop = SimpleNamespace(batch_idx=batch)
        told.on_train_batch_end(trainer)
    said = capsys.readouterr().err
    assert said == "training: about 34 s for 68 steps of 0.50 s, without the validations\n"
