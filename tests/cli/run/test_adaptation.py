"""An adaptation before the test: the same weights on one and two processes, and after a kill at any epoch."""

import json
import time
from pathlib import Path

import pytest

from fsbench.cli.main import main
from fsbench.records.card import Cards
from fsbench.records.record import Record, find_records
from fsbench.runner.engine.checkpoint import ADAPTED
from tests.cli.commands import environments_of_ranks, run_command
from tests.cli.conftest import FEW, environment_of_test
from tests.cli.run.test_killed import same

TRAINING = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--data.training.batch_size=2"]
ADAPTATION = ["--model.adaptation.epochs=4", "--model.adaptation.batch_size=2", "--model.adaptation.learning_rate=0.05"]


def only_record(runs: Path) -> Record:
    (record,) = find_records(runs)
    return record


def adaptation(record: Record) -> dict:
    return json.loads((record.path / ADAPTED).read_text())


@pytest.fixture(scope="module")
def base(small_demo, tmp_path_factory) -> Path:
    """A checkpoint of base training alone."""
    runs = tmp_path_factory.mktemp("base") / "runs"
    assert main(run_command("ifa", runs, small_demo, *FEW, *TRAINING, "--model.adaptation.images=none")) == 0
    return only_record(runs).path / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def whole(base, small_demo, tmp_path_factory) -> Record:
    """A run of one process that nobody stopped, on this checkpoint."""
    runs = tmp_path_factory.mktemp("whole") / "runs"
    assert main(run_command("ifa", runs, small_demo, *FEW, *ADAPTATION, f"--run.checkpoint={base}")) == 0
    return only_record(runs)


@pytest.mark.slow(40)
def test_what_a_run_was_told_stands_in_its_record(whole, base, small_demo, tmp_path, capsys):
    told, facts = whole.run.told, adaptation(whole)
    assert 1 < told.labelled_images <= 4
    card = Cards().run_card(whole)
    assert card.told == f"{told.labelled_images} labelled images a class" and card.novel_pixels == "labelled"
    assert card.checkpoint_choice == "base classes"  # as the demo's training
    assert whole.run.checkpoint_sha256 == facts["checkpoint_sha256"]
    assert facts["validation_mIoU"] == whole.run.made.adaptation["validation_mIoU"] and facts["steps"] == 12
    assert not list(whole.path.glob("checkpoints/adapting*"))
    assert any("labelled images a class of the test's own pool" in words for words in whole.run.remarks)
    adapted = whole.path / "checkpoints" / facts["checkpoint"]
    again = run_command("ifa", tmp_path / "runs", small_demo, *FEW, f"--run.checkpoint={adapted}")
    assert main(again) == 2
    assert "was adapted to" in capsys.readouterr().err
    assert main(["explain", str(whole.path), "--episodes", "1", "--out", str(tmp_path / "pages")]) == 0


@pytest.mark.slow(60)
def test_two_processes_test_the_weights_of_one(whole, base, small_demo, spawn, tmp_path):
    arguments = run_command(
        "ifa", tmp_path / "runs", small_demo, *FEW, *ADAPTATION, f"--run.checkpoint={base}", devices=2
    )
    _, errors = (started := spawn(*arguments)).communicate(timeout=600)
    assert started.returncode == 0, errors
    two = only_record(tmp_path / "runs")
    for key in ("identity", "scores", "counts_sha256", "columns_sha256"):
        assert getattr(two.run, key) == getattr(whole.run, key)
    assert adaptation(two)["checkpoint_sha256"] == adaptation(whole)["checkpoint_sha256"]


@pytest.mark.slow(60)
def test_two_processes_train_and_one_of_them_adapts(small_demo, spawn, tmp_path):
    arguments = run_command("ifa", tmp_path / "runs", small_demo, *FEW, *TRAINING, *ADAPTATION, devices=2)
    _, errors = (started := spawn(*arguments)).communicate(timeout=600)
    assert started.returncode == 0, errors
    record = only_record(tmp_path / "runs")
    assert record.run.made.checkpoint == "best.ckpt" and record.run.made.adaptation["checkpoint"] == "adapted.ckpt"


@pytest.mark.slow(60)
def test_a_failure_of_the_process_that_adapts_ends_all(base, small_demo, warm_process, tmp_path):
    """A rate at which the loss is not finite; each process is started by itself, so that none ends another."""
    failing = [*ADAPTATION, "--model.adaptation.learning_rate=1e30", f"--run.checkpoint={base}"]
    arguments = run_command("ifa", tmp_path / "runs", small_demo, *FEW, *failing, devices=2)
    environments = [environment_of_test(tmp_path) | rank for rank in environments_of_ranks(2)]
    one, two = warm_process.call_ranks(arguments, tmp_path, environments)
    assert one.returncode == 2 and "the loss of the adaptation is nan in epoch 1, expected a finite" in one.stderr
    assert two.returncode == 2 and not two.stderr
    assert not list((tmp_path / "runs").glob(f"*/{ADAPTED}"))


@pytest.mark.slow(60)
def test_a_killed_adaptation_goes_on_from_its_last_epoch(whole, base, small_demo, spawn, tmp_path):
    runs = tmp_path / "runs"
    arguments = run_command("ifa", runs, small_demo, *FEW, *ADAPTATION, f"--run.checkpoint={base}")
    started, end = spawn(*arguments), time.monotonic() + 300
    while not list(runs.glob("*/checkpoints/adapting.ckpt")):
        assert started.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    started.kill()
    started.communicate()
    (folder,) = runs.glob("ifa-*")
    assert not (folder / ADAPTED).exists() and not (folder / "run.json").exists()
    _, errors = (again := spawn(*arguments)).communicate(timeout=600)
    assert again.returncode == 0, errors
    log = (folder / "run.log").read_text()
    assert (
        log.count("labelled images a class, from epoch 1\n") == 1 and ", from epoch " in log.split("from epoch 1\n")[1]
    )
    found = only_record(runs)
    same(found, whole)
    assert adaptation(found)["checkpoint_sha256"] == adaptation(whole)["checkpoint_sha256"]
