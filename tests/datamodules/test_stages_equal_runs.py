"""Lightning's own Trainer learns the weights of a run, and has its scores, to the last bit."""

import json
import os
import subprocess
import sys

import pytest
import torch

from fsbench.base.paths import REPOSITORY
from fsbench.records.record import find_records
from fsbench.runner.config.run_config import RunConfig
from tests.cli.commands import images_of
from tests.cli.many_cells import settings_text
from tests.config_words import parse_run

METHODS = {
    "hsnet": [],
    "emat": ["--model.support_side=4"],
    "hmnet": ["--data.training.micro_batch=2"],
}


def plan_of(folder, small_demo, method, shot, processes):
    """Write a file of `tests.cli.many_cells` with a training of few steps."""
    common = [
        "--data.test.episodes=7", "--data.training.validation=base", "--data.training.validation_episodes=5",
        "--data.training.batch_size=4", "--data.loading.workers=0", "--trainer.max_epochs=2",
        "--trainer.limit_train_batches=2", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
        f"--trainer.strategy={'ddp' if processes > 1 else 'auto'}", "--run.first_validation=0",
        "--run.middle_validation=null", "--run.patience=null", *images_of(small_demo),
    ]  # fmt: skip
    request = RunConfig(
        method, "demo", shot=shot, devices=processes, seed=3, runs=str(folder / "runs"),
        extra=(*common, *METHODS[method]),
    )  # fmt: skip
    file = folder / "cell.plan"
    file.write_text(settings_text([parse_run(request, build=False).config]))
    return file


def program(*words):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", *map(str, words)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow(30)
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("shot", [1, 5])
@pytest.mark.parametrize("method", METHODS)
def test_a_trainer_by_hand_equals_a_run(method, shot, processes, small_demo, tmp_path):
    plan = plan_of(tmp_path, small_demo, method, shot, processes)
    program("tests.cli.many_cells", plan)
    program("tests.datamodules.by_hand", plan, tmp_path)
    (record,) = find_records(tmp_path / "runs")
    found = json.loads((tmp_path / "found.json").read_text())
    learned = torch.load(record.path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert found["weights"].keys() == learned.keys()
    by_hand = {name: torch.tensor(values, dtype=torch.float64) for name, values in found["weights"].items()}
    far = [float((by_hand[name] - value.double().flatten()).abs().max()) for name, value in learned.items()]
    assert max(far) == 0
    assert found["validation"] == record.run.made.validation_mIoU
    assert found["test"] == pytest.approx(record.scores, abs=0, rel=0, nan_ok=True)
    assert record.run.provenance.processes == processes
