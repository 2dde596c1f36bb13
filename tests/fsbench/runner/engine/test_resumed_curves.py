"""The curves and the step of a run that goes on in another process."""

import torch

from fsbench.runner.engine.checkpoint import trained_steps
from fsbench.runner.engine.loggers import earlier_curves


def write(folder, version, text):
    file = folder / "curves" / f"version_{version}" / "metrics.csv"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_steps_are_those_of_the_last_checkpoint(tmp_path):
    assert trained_steps(tmp_path) == 0
    (tmp_path / "checkpoints").mkdir()
    torch.save({"state_dict": {}, "global_step": 8}, tmp_path / "checkpoints" / "last.ckpt")
    assert trained_steps(tmp_path) == 8


def test_curves_are_read_up_to_the_step_that_training_goes_on_from(tmp_path):
    write(tmp_path, 0, "epoch,step,train/loss,val/mIoU\n0,0,0.5,\n0,1,0.4,\n0,1,,30.0\n1,2,0.9,\n1,3,0.8")
    write(tmp_path, 2, "epoch,step,train/loss\n1,2,0.3\n1,3,0.2\n2,4,0.1\n2,")
    write(tmp_path, 10, "epoch,step,train/loss\n1,3,0.25\n")
    assert list(earlier_curves(tmp_path, 4)) == [
        {"epoch": 0, "train/loss": 0.5, "trainer/global_step": 0},
        {"epoch": 0, "train/loss": 0.4, "val/mIoU": 30, "trainer/global_step": 1},
        {"epoch": 1, "train/loss": 0.3, "trainer/global_step": 2},
        {"epoch": 1, "train/loss": 0.25, "trainer/global_step": 3},
    ]
    assert list(earlier_curves(tmp_path, 0)) == list(earlier_curves(tmp_path / "absent", 4)) == []
