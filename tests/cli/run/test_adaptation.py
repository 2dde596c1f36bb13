"""An adaptation before the test: the same weights on one and two processes, and after a kill at any epoch."""

import json
from pathlib import Path

import pytest

from fsbench.cli.main import main
from fsbench.records.card import Cards
from fsbench.records.record import Record
from fsbench.runner.engine.checkpoint import ADAPTED
from tests.cli.commands import FEW, run_command
from tests.cli.processes import same, the_record, wait_for

TRAINING = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--data.training.batch_size=2"]
ADAPTATION = ["--model.adaptation.epochs=4", "--model.adaptation.batch_size=2", "--model.adaptation.learning_rate=0.05"]


def adaptation(record: Record) -> dict:
    return json.loads((record.path / ADAPTED).read_text())


@pytest.fixture(scope="module")
def base(small_demo, tmp_path_factory) -> Path:
    """A checkpoint of base training alone."""
    runs = tmp_path_factory.mktemp("base") / "runs"
    assert main(run_command("ifa", runs, small_demo, *FEW, *TRAINING, "--model.adaptation.images=none")) == 0
    return the_record(runs).path / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def whole(base, small_demo, tmp_path_factory) -> Record:
    """A run of one process that nobody stopped, on this checkpoint."""
    runs = tmp_path_factory.mktemp("whole") / "runs"
    assert main(run_command("ifa", runs, small_demo, *FEW, *ADAPTATION, f"--run.checkpoint={base}")) == 0
    return the_record(runs)


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
def test_two_processes_test_the_weights_of_one(whole, base, small_demo, finish, tmp_path):
    given = [*FEW, *ADAPTATION, f"--run.checkpoint={base}"]
    finish(run_command("ifa", tmp_path / "runs", small_demo, *given, devices=2), 2)
    two = the_record(tmp_path / "runs")
    assert (two.run.identity, two.scores, two.counted) == (whole.run.identity, whole.scores, whole.counted)
    assert adaptation(two)["checkpoint_sha256"] == adaptation(whole)["checkpoint_sha256"]


@pytest.mark.slow(60)
def test_two_processes_train_and_one_of_them_adapts(small_demo, fsbench, tmp_path):
    """In processes that Lightning starts."""
    done = fsbench(*run_command("ifa", tmp_path / "runs", small_demo, *FEW, *TRAINING, *ADAPTATION, devices=2))
    assert done.returncode == 0, done.stderr
    made = the_record(tmp_path / "runs").run.made
    assert made.checkpoint == "best.ckpt" and made.adaptation["checkpoint"] == "adapted.ckpt"


@pytest.mark.slow(20)
def test_a_failure_of_the_process_that_adapts_ends_all(base, small_demo, ranks, tmp_path):
    """A rate at which the loss is not finite; each process is started by itself, so that none ends another."""
    failing = [*ADAPTATION, "--model.adaptation.learning_rate=1e30", f"--run.checkpoint={base}"]
    one, two = ranks(run_command("ifa", tmp_path / "runs", small_demo, *FEW, *failing, devices=2), 2)
    assert one.returncode == 2 and "the loss of the adaptation is nan in epoch 1, expected a finite" in one.stderr
    assert two.returncode == 2 and not two.stderr
    assert not list((tmp_path / "runs").glob(f"*/{ADAPTED}"))


@pytest.mark.slow(60)
def test_a_killed_adaptation_goes_on_from_its_last_epoch(whole, base, small_demo, spawn, finish, tmp_path):
    runs = tmp_path / "runs"
    arguments = run_command("ifa", runs, small_demo, *FEW, *ADAPTATION, f"--run.checkpoint={base}")
    process = spawn(*arguments)
    wait_for(lambda: list(runs.glob("*/checkpoints/adapting.ckpt")), process)
    process.kill()
    process.communicate()
    (folder,) = runs.glob("ifa-*")
    assert not (folder / ADAPTED).exists() and not (folder / "run.json").exists()
    finish(arguments)
    log = (folder / "run.log").read_text()
    assert log.count("labelled images a class, from epoch 1\n") == 1
    assert ", from epoch " in log.split("from epoch 1\n")[1]
    found = the_record(runs)
    same(found, whole)
    assert adaptation(found)["checkpoint_sha256"] == adaptation(whole)["checkpoint_sha256"]
