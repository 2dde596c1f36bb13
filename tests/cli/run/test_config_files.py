"""`fsbench bench --config FILE` is exactly the run that the file describes."""

import pytest

from fsbench.base.paths import CONFIGS
from fsbench.records.record import read_record


def test_the_configuration_of_a_finished_run_makes_that_run(finished_runs, command, tmp_path):
    (before,) = finished_runs.glob("*/run.json")
    config = before.with_name("config.yaml")
    assert command("bench", "--config", config)[0] == 0  # it is done already
    assert list(finished_runs.glob("*/run.json")) == [before]
    status, out, err = command("bench", "--config", config, f"--run.runs={tmp_path / 'again'}")
    assert status == 0 and "fsbench: error" not in err and "mIoU" not in out  # no table
    (after,) = (tmp_path / "again").glob("*/run.json")
    old, new = (read_record(file.parent) for file in (before, after))
    assert new.counted == old.counted and new.run.identity == old.run.identity


@pytest.mark.parametrize("words", [["--fold", "1", "--by", "size"], ["--force"]])
def test_other_options_of_bench_need_a_method(command, words):
    status, _, err = command("bench", "--config", CONFIGS / "base.yaml", *words)
    names = ", ".join(word for word in words if word.startswith("--"))
    assert status == 2 and f"{names} and --config were both given, without --method" in err
    assert len(err.splitlines()) == 1


def test_a_file_changes_the_settings_of_a_method_that_is_named(command, capsys, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("data: {init_args: {test: {shot: 3}}}\n")
    with pytest.raises(SystemExit, match="0"):
        command("bench", "--method", "prototype", "--dataset", "demo", "--config", file, "--print_config")
    shown = capsys.readouterr().out
    assert "shot: 3" in shown and "Prototype" in shown
