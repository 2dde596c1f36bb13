import os

import pytest
from lightning.fabric.utilities.rank_zero import _get_rank

from fsbench.base.errors import SettingsError
from fsbench.runner.engine.machine.launch import LAUNCHERS, check_launch

SERVER = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
TORCHRUN = SERVER | {
    "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
    "TORCHELASTIC_RUN_ID": "x",
}  # fmt: skip
CHILD = SERVER | {"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}
TASK = {"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0", "SLURM_NTASKS": "2", "SLURM_NNODES": "1",
        "SLURM_NTASKS_PER_NODE": "2", "SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "train"}  # fmt: skip


@pytest.fixture
def environment(monkeypatch):
    """environment(variables) -> nothing; the process has these and no others of a launch."""
    names = {name for launcher in LAUNCHERS for name in launcher.variables}

    def set_variables(variables):
        for name in [name for name in os.environ if name in names or name.startswith("SLURM_")]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.mark.parametrize(
    ("variables", "devices", "nodes", "rank"),
    [
        ({}, 1, 1, None),
        (SERVER, 1, 1, None),  # of which a run of one process asks nothing
        ({}, 2, 1, None),  # whose further processes Lightning will start
        (TORCHRUN, 2, 1, 1),
        (TORCHRUN | {"RANK": "3", "WORLD_SIZE": "4", "GROUP_RANK": "1", "NODE_RANK": "1"}, 2, 2, 3),
        (TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}, 1, 1, 0),
        (SERVER | {"RANK": "0", "WORLD_SIZE": "1"}, 1, 1, 0),  # what a job of one container is given
        (CHILD, 2, 1, 1),
        (TASK, 2, 1, 1),
        (TASK | {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"} | SERVER, 2, 1, 1),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "interactive"}, 1, 1, 0),
    ],
)
def test_whole_launches_pass_and_their_rank_is_what_lightning_takes(environment, variables, devices, nodes, rank):
    environment(variables)
    check_launch(devices, nodes)
    assert _get_rank() == rank


@pytest.mark.parametrize(
    ("variables", "devices", "nodes", "names"),
    [
        ({"RANK": "1", "WORLD_SIZE": "1"}, 1, 1, "RANK=1, WORLD_SIZE=1"),
        (SERVER | {"RANK": "1", "WORLD_SIZE": "1"}, 1, 1, "MASTER_ADDR=localhost, MASTER_PORT=29500, RANK=1"),
        (SERVER | {"RANK": "0", "WORLD_SIZE": "2"}, 2, 1, "MASTER_ADDR=localhost, MASTER_PORT=29500, RANK=0"),
        ({"LOCAL_RANK": "1"}, 1, 1, "LOCAL_RANK=1"),
        ({"JSM_NAMESPACE_RANK": "2"}, 1, 1, "JSM_NAMESPACE_RANK=2"),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "interactive"}, 1, 1, "SLURM_PROCID=2"),
        (SERVER, 2, 1, "MASTER_ADDR=localhost, MASTER_PORT=29500"),
        (TORCHRUN, 1, 1, "GROUP_RANK=0, LOCAL_RANK=1, LOCAL_WORLD_SIZE=2, MASTER_ADDR"),
        (CHILD, 1, 1, "LOCAL_RANK=1, MASTER_ADDR=localhost, MASTER_PORT=29500, NODE_RANK=0, WORLD_SIZE=2"),
        (CHILD | {"RANK": "0"}, 2, 1, "LOCAL_RANK=1, MASTER_ADDR"),
        (TASK | {"RANK": "0"}, 2, 1, "RANK=0"),
        (TASK | {"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "LOCAL_RANK": "0"}, 2, 2, "LOCAL_"),
    ],
)  # fmt: skip
def test_what_a_launch_has_left_is_refused_by_name(environment, variables, devices, nodes, names):
    environment(variables)
    with pytest.raises(SettingsError, match=rf"^the environment has {names}.*; expected none of .*: env -u "):
        check_launch(devices, nodes)
