"""A shell's variables of a launch: a whole launch runs, and what one has left is refused before anything is written."""

import pytest

from fsbench.cli.main import main
from tests.cli.commands import environments_of_ranks
from tests.cli.processes import the_record


def test_a_rank_that_a_launch_has_left_is_refused(run_arguments, capsys, monkeypatch, tmp_path):
    """Those of other launchers are in tests/fsbench/runner/engine/test_launch.py."""
    for name, value in {"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "interactive"}.items():
        monkeypatch.setenv(name, value)
    assert main(run_arguments("prototype", tmp_path / "runs")) == 2
    assert "SLURM_PROCID=2" in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.slow(20)
def test_a_whole_launch_of_one_process_writes_all(warm, run_arguments, tmp_path):
    (first, _) = environments_of_ranks(2)
    done = warm(*run_arguments("prototype", tmp_path / "runs"), **first | {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"})
    assert done.returncode == 0, done.stderr
    files = {file.name for file in the_record(tmp_path / "runs").path.iterdir()}
    assert {"config.yaml", "identity.json", "run.json"} <= files
