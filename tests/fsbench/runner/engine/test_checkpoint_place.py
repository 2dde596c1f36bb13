"""Checkpoints say nothing of the folder that they were made in."""

import pytest
import torch

from fsbench.base.errors import RecordError
from fsbench.runner.engine.callbacks import PlacelessCheckpoint
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.restore import load_run
from fsbench.runner.engine.run import run_experiment
from tests.fsbench.runner.engine.runs import folder_run


def test_what_was_the_best_is_known_in_another_folder(tmp_path):
    before = PlacelessCheckpoint(dirpath=tmp_path / "before", monitor="x")
    best = str(tmp_path / "before/best.ckpt")
    before.best_model_path, before.best_model_score, before.best_k_models = best, torch.tensor(3.0), {best: 3.0}
    after = PlacelessCheckpoint(dirpath=tmp_path / "after", monitor="x")
    assert after.state_key == before.state_key
    state = before.state_dict()
    assert str(tmp_path) not in str(state)
    after.load_state_dict(state)
    moved = str(tmp_path / "after/best.ckpt")
    assert after.best_model_path == moved and after.best_k_models == {moved: 3.0} and after.last_model_path == ""
    assert after.best_model_score == 3.0


@pytest.mark.slow
def test_a_training_has_the_same_checkpoints_in_any_folder(blocks_folder, tmp_path):
    short = [
        "--data.test.episodes=2", "--data.training.validation_episodes=3", "--data.image_size=64",
        "--trainer.limit_train_batches=1", "--trainer.max_epochs=2",
    ]  # fmt: skip
    runs = [folder_run("hsnet", blocks_folder, tmp_path / place, *short) for place in ("a", "of-a-long-name/inside")]
    first, other = (run_experiment(Experiment(run.parse())) for run in runs)
    assert first.run.checkpoint_sha256 == other.run.checkpoint_sha256
    for record in (first, other):
        for file in (record.path / "checkpoints").glob("*.ckpt"):
            assert str(tmp_path).encode() not in file.read_bytes()
    checkpoints = other.path / "checkpoints"
    load_run(other.path)
    (checkpoints / "best.ckpt").write_bytes((checkpoints / "last.ckpt").read_bytes())
    with pytest.raises(
        RecordError, match=r"best\.ckpt is not the checkpoint that .*json tells of; put that back, or remove the"
    ):
        load_run(other.path)
