"""A training of the base learner by the command, as its files say, on the small demo."""

import csv

import pytest
import torch

from fsbench.core.released_format import TRAINED_ON
from fsbench.records.record import find_records


@pytest.mark.slow
def test_the_base_learner_from_the_command_line(warm, bench_arguments, tmp_path):
    """80 images in steps of 79: the last has no statistics and is left out; all test images choose the checkpoint."""
    small = [
        "--backbone=dilated_vgg16", "--model.backbone.weights=random", "--data.image_size=17",
        "--data.training.batch_size=79",
        "--data.training.validation_episodes=null", "--trainer.max_epochs=1", "--data.test.episodes=2",
        "--trainer.accelerator=cpu",
    ]  # fmt: skip
    done = warm(*bench_arguments("pspnet", tmp_path / "runs", *small))
    assert done.returncode == 0, done.stderr
    (record,) = find_records(tmp_path / "runs")
    training = record.run.identity.training
    assert (training["validation"], training["training_items"]) == ("images", "images")
    assert (training["augmentation"], training["batch_size"], training["drop_last"]) == ("base_learner", 79, True)
    checkpoint = torch.load(record.path / "checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 1 and len(checkpoint[TRAINED_ON]["classes"]) == 15
    (curve,) = record.path.rglob("metrics.csv")
    scores = [row["val/mIoU"] for row in csv.DictReader(curve.open()) if row["val/mIoU"]]
    assert len(scores) == 1 and float(scores[0]) == pytest.approx(record.run.made.validation_mIoU, abs=1e-4)
    facts = record.run.weights.training
    assert facts.chosen_by == "val/mIoU" and facts.settings == training
