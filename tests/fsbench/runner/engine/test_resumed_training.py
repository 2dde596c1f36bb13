"""A training that was stopped goes on as if it had not been: the same episodes, the same files, to the byte."""

import pytest

from fsbench.datamodules.datasets.demo.dataset import drawn_dataset
from fsbench.runner.engine.callbacks import PerStepSeed
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.run import run
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
    start = PerStepSeed.on_train_batch_start

    def stop(self, trainer, module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (epoch, step):
            raise KeyboardInterrupt
        start(self, trainer, module, batch, batch_idx)

    monkeypatch.setattr(PerStepSeed, "on_train_batch_start", stop)


@pytest.mark.slow(30)
@pytest.mark.parametrize(
    ("method", "schedule"), [("emat", ()), ("emat", ("--run.first_validation=1",)), ("pfenet", ())]
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
    assert resumed.run.counts_sha256 == record.run.counts_sha256
    assert resumed.run.made.checkpoint == record.run.made.checkpoint
