"""A training that was stopped goes on as if it had not been: the same episodes, the same files, to the byte."""

import pytest
import torch

from fsbench.datamodules.datasets.demo.dataset import drawn_dataset
from fsbench.datamodules.stages import Stages
from fsbench.records.run import LAST
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.run import run
from tests.drawn_volumes import draw_prepared
from tests.fsbench.runner.engine.runs import folder_run

CHECKPOINTS = ("last.ckpt", "best.ckpt")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "small"
    drawn_dataset(seed=3, train=60, val=60).make(root)
    return root


def training(method, images, folder, *more):
    few = (
        "--data.loading.workers=1", "--trainer.max_epochs=4", "--trainer.limit_train_batches=2",
        "--data.training.batch_size=2", "--data.training.validation_episodes=4",
    )  # fmt: skip
    return folder_run(method, images, folder, *few, *more, protocol="fscs", episodes=3)


def files(run):
    folder = Experiment(run.parse()).folder
    return {name: (folder / "checkpoints" / name).read_bytes() for name in CHECKPOINTS}


def stop_at(monkeypatch, epoch, step):
    """Let the next training end, as by Ctrl-C, before a step."""
    start = Stages.on_train_batch_start

    def stop(self, trainer, module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (epoch, step):
            raise KeyboardInterrupt
        start(self, trainer, module, batch, batch_idx)

    monkeypatch.setattr(Stages, "on_train_batch_start", stop)


@pytest.mark.slow(30)
@pytest.mark.parametrize(
    ("method", "schedule"),
    [("emat", ()), ("emat", ("--run.first_validation=1",)), ("emat", ("--trainer.max_steps=8",)), ("pfenet", ())],
)
def test_the_processes_of_a_loader_begin_with_the_epoch_that_comes_next(
    images, tmp_path, monkeypatch, method, schedule
):
    """They draw the first batches before Lightning tells the epoch; the last epoch is kept, be it the best or not.

    PFENet's schedule asks how many steps there will be, which makes the loader before the training is restored.
    """
    whole = training(method, images, tmp_path / "whole", *schedule)
    record = run(whole)
    stopped = training(method, images, tmp_path / "stopped", *schedule)
    for epoch, step in ((2, 1), (3, 1)):
        with monkeypatch.context() as once:
            stop_at(once, epoch, step)
            with pytest.raises(KeyboardInterrupt):
                run(stopped)
    resumed = run(stopped)
    logs = [(one.path / "run.log").read_text() for one in (record, resumed)]
    assert [log.count("training starts") for log in logs] == [1, 1] and logs[1].count("training continues from") == 2
    assert files(whole) == files(stopped)
    assert resumed.counts_sha256 == record.counts_sha256
    assert resumed.run.made.checkpoint == record.run.made.checkpoint


@pytest.mark.slow(30)
def test_a_training_on_superpixels_goes_on_and_keeps_its_last_weights(tmp_path, monkeypatch):
    scans = draw_prepared(tmp_path / "scans", ids=(1, 2, 3, 5, 8, 10, 13), slices=5, side=128)
    words = (
        f"--data.dataset.root={scans}", "--data.image_size=128", "--data.training.epoch_length=3",
        "--trainer.max_epochs=3", "--data.loading.workers=1", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false", "--model.steps=8",
    )  # fmt: skip

    def training(folder):
        more = {"backbone": "demo", "weights": "random", "runs": str(tmp_path / folder)}
        return RunConfig("alpnet", "chaost2", extra=words, episodes=3, **more)

    record = run(training("whole"))
    with monkeypatch.context() as once:
        stop_at(once, 1, 2)
        with pytest.raises(KeyboardInterrupt):
            run(training("stopped"))
    resumed = run(training("stopped"))
    whole, other = (one.path / "checkpoints" for one in (record, resumed))
    assert sorted(file.name for file in whole.iterdir()) == ["finished.json", "last.ckpt"]
    assert (whole / "last.ckpt").read_bytes() == (other / "last.ckpt").read_bytes()
    assert record.run.made.checkpoint == "last.ckpt" and record.run.made.validation_mIoU is None
    assert record.run.weights.training.chosen_by == LAST
    state = torch.load(whole / "last.ckpt", weights_only=True)
    assert state["global_step"] == 8  # the last epoch ended by steps
    assert resumed.counts_sha256 == record.counts_sha256
