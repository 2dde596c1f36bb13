"""A shell's variables of a launch: a whole launch runs, and what one has left is refused before anything is written."""

import pytest

from fsbench.records.record import find_records
from tests.cli.commands import environments_of_ranks

LEFT = (
    {"RANK": "1", "WORLD_SIZE": "1"},
    {"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "interactive", "SLURM_JOB_ID": "7"},
    {"LOCAL_RANK": "1"},
    {"JSM_NAMESPACE_RANK": "2"},
)


@pytest.mark.slow(30)
@pytest.mark.parametrize("left", LEFT, ids=lambda left: next(iter(left)))
def test_a_rank_that_a_launch_has_left_is_refused(fsbench, run_arguments, tmp_path, left):
    done = fsbench(*run_arguments("emat", tmp_path / "runs"), **left)
    assert done.returncode == 2 and f"{next(iter(left))}={next(iter(left.values()))}" in done.stderr
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.slow(20)
def test_a_whole_launch_of_one_process_writes_all(fsbench, run_arguments, tmp_path):
    (first, _) = environments_of_ranks(2)
    launch = first | {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    done = fsbench(*run_arguments("prototype", tmp_path / "runs"), **launch)
    assert done.returncode == 0, done.stderr
    (record,) = find_records(tmp_path / "runs")
    assert {"config.yaml", "identity.json", "run.json"} <= {file.name for file in record.path.iterdir()}
