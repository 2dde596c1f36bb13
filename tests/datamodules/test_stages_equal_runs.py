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
SHOTS = (1, 5)
CELLS = [(method, shot) for method in METHODS for shot in SHOTS]


def plan_of(folder, small_demo, processes):
    """Write a file of `tests.cli.many_cells` with a training of few steps of each cell."""
    common = [
        "--data.test.episodes=7", "--data.training.validation=base", "--data.training.validation_episodes=5",
        "--data.training.batch_size=4", "--data.loading.workers=0", "--trainer.max_epochs=2",
        "--trainer.limit_train_batches=2", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
        f"--trainer.strategy={'ddp' if processes > 1 else 'auto'}", "--run.first_validation=0",
        "--run.middle_validation=null", "--run.patience=null", *images_of(small_demo),
    ]  # fmt: skip
    cells = [
        parse_run(
            RunConfig(
                method, "demo", shot=shot, devices=processes, seed=3, runs=str(folder / f"{method}-{shot}"),
                extra=(*common, *METHODS[method]),
            ),
            build=False,
        ).config
        for method, shot in CELLS
    ]  # fmt: skip
    file = folder / "cells.plan"
    file.write_text(settings_text(cells))
    return file


def program(*words):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", *map(str, words)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow(240)
@pytest.mark.parametrize("processes", [1, 2])
def test_a_trainer_by_hand_equals_a_run(processes, small_demo, tmp_path):
    plan = plan_of(tmp_path, small_demo, processes)
    program("tests.cli.many_cells", plan)
    program("tests.datamodules.by_hand", plan, tmp_path)
    for number, (method, shot) in enumerate(CELLS):
        (record,) = find_records(tmp_path / f"{method}-{shot}")
        found = json.loads((tmp_path / f"{number}.json").read_text())
        learned = torch.load(record.path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        assert found["weights"].keys() == learned.keys()
        far = {
            name: float(
                (torch.tensor(found["weights"][name], dtype=torch.float64) - value.double().flatten()).abs().max()
            )
            for name, value in learned.items()
        }
        assert not any(far.values()), (method, shot, max(far.values()))
        assert found["validation"] == record.run.made.validation_mIoU, (method, shot)
        assert found["test"] == pytest.approx(record.run.scores, abs=0, rel=0, nan_ok=True), (method, shot)
        assert record.run.provenance.processes == processes
