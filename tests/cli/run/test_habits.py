"""Methods with ordinary habits of Lightning's users train, are killed, go on and are evaluated, or are told at once."""

from pathlib import Path

import pytest
import torch

from tests.cli.processes import same, the_record

METHOD = Path(__file__).with_name("habits.py")


@pytest.mark.slow(40)
def test_a_training_with_ordinary_habits_is_killed_and_goes_on(warm, bench_arguments, tmp_path):
    """Its states come back with their exact types: rates, curves and scores are those of a training that was not."""

    def command(folder):
        return bench_arguments(f"{METHOD}:Habits", tmp_path / folder, "--data.image_size=64", "--trainer.max_epochs=3")

    whole = warm(*command("whole"))
    assert whole.returncode == 0, whole.stderr
    killed = warm(*command("runs"), KILLED_AT="1 1")
    assert killed.returncode != 0 and "Traceback" not in killed.stderr
    (last,) = (tmp_path / "runs").glob("*/checkpoints/last.ckpt")
    assert not last.with_name("first.ckpt").exists()
    content = torch.load(last, weights_only=True)
    assert content["lr_schedulers"][0]["factor"] == pytest.approx(0.9) and "hyper_parameters" not in content
    again = warm(*command("runs"))
    assert again.returncode == 0, again.stderr
    record, expected = the_record(tmp_path / "runs"), the_record(tmp_path / "whole")
    assert "training continues from" in (record.path / "run.log").read_text()
    same(record, expected)
    checkpoints = [(one.path / "checkpoints/last.ckpt").read_bytes() for one in (record, expected)]
    assert checkpoints[0] == checkpoints[1]


@pytest.mark.slow(10)
def test_an_object_in_a_checkpoint_is_told_in_the_first_seconds(warm, bench_arguments, tmp_path):
    ended = warm(*bench_arguments(f"{METHOD}:SavesAnObject", "runs", "--data.image_size=64"))
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "would hold mine: settings (Settings)" in ended.stderr
    assert not list((tmp_path / "runs").glob("*/checkpoints/*"))  # before the first epoch ended
