"""Processes that a launcher or a job of SLURM has started are those of the run, or the run is refused."""

import os
import subprocess
import sys

import pytest
from lightning.fabric.utilities.rank_zero import _get_rank
from lightning.pytorch.plugins.environments import LightningEnvironment

from fsbench.base.errors import SettingsError
from fsbench.runner.engine.machine.launch import LAUNCHERS, check_launch, is_first, plugins_in_job
from fsbench.runner.engine.machine.watchdog import safe_imports

SERVER = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
TORCHRUN = SERVER | {
    "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
    "TORCHELASTIC_RUN_ID": "x",
}  # fmt: skip
CHILD = SERVER | {"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}
TASK = {"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0", "SLURM_NTASKS": "2", "SLURM_NNODES": "1",
        "SLURM_NTASKS_PER_NODE": "2", "SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "train"}  # fmt: skip

BASH = TASK | {"SLURM_JOB_NAME": "bash", "SLURM_STEP_NUM_TASKS": "2"}


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
        ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "bash"}, 1, 1, None),
        ({"SLURM_NTASKS": "1"}, 1, 1, None),
        (BASH, 2, 1, 1),  # a job may have any name
        ({name: value for name, value in BASH.items() if name != "SLURM_PROCID"}, 1, 1, None),  # a run for each task
        (TASK | {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "4"}, 4, 2, 5),
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
    with pytest.raises(
        SettingsError, match=rf"^the environment has {names}.* has left; .* Remove (it|them) with: env -u "
    ):
        check_launch(devices, nodes)


@pytest.mark.parametrize(
    ("given", "devices", "nodes", "words"),
    [
        ({"NTASKS_PER_NODE": None}, 2, 1,
         "the number of tasks on each node is not given; expected srun --ntasks-per-node=2 fsbench bench …"),
        ({"STEP_ID": None}, 2, 1, "was not started by srun"),
        ({"NTASKS": "1"}, 2, 1, "has 1 task on 1 node for this run, whose settings ask for 2 .trainer.devices 2"),
        ({"NTASKS": "4", "NNODES": "2"}, 4, 1,
         r"--ntasks-per-node=4 .*, or --trainer.devices 2 --trainer.num_nodes 2 --trainer.strategy"),
        ({"NTASKS": "3", "NNODES": "2"}, 2, 2, "srun --nodes=2 --ntasks-per-node=2 fsbench bench …$"),
        ({"NTASKS": "4", "NNODES": "2", "NTASKS_PER_NODE": "4"}, 2, 2,
         "the number of tasks on each node is 4; expected srun --nodes=2 --ntasks-per-node=2"),
    ],
)  # fmt: skip
def test_other_tasks_are_refused_by_the_first_of_them(environment, given, devices, nodes, words):
    task = TASK | {f"SLURM_{name}": value for name, value in given.items()}
    for number in ("0", "1"):
        environment({name: value for name, value in task.items() if value is not None} | {"SLURM_PROCID": number})
        with pytest.raises(SettingsError, match=words) as refused:
            check_launch(devices, nodes)
        assert refused.value.is_told == (number == "1")


def test_lightning_does_not_requeue_jobs(environment):
    environment({})
    assert plugins_in_job(None) == []
    for task in (TASK, BASH):
        environment(task)
        (plugin,) = plugins_in_job(None)
        assert not plugin.auto_requeue and plugin.world_size() == 2 and plugin.global_rank() == 1
    own = LightningEnvironment()
    assert plugins_in_job(own) == [own]


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        (TASK, False),
        (TASK | {"SLURM_PROCID": "0"}, True),
        (BASH, False),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "interactive"}, True),  # a shell in a task
        (TORCHRUN, False),
        (TORCHRUN | {"RANK": "0"}, True),
    ],
)
def test_the_first_process_of_a_launch_prints(environment, variables, first):
    environment(variables)
    assert is_first() == first


@pytest.mark.slow(10)
@pytest.mark.parametrize(("opens", "expected"), [(True, False), (False, True)], ids=["in a terminal", "without one"])
def test_a_shell_of_several_tasks_is_no_job(opens, expected):
    """`srun -n 4 --pty bash`: a run's own input and output are no terminal there, as those of its children."""
    asked = "from fsbench.runner.engine.machine.launch import in_job; print('in job:', in_job())"
    called = f"subprocess.check_output([sys.executable, '-c', {asked!r}], stdin=subprocess.DEVNULL, text=True)"
    inner = f"import subprocess, sys; print({called})"
    spawned = f"import pty, sys; pty.spawn([sys.executable, '-c', {inner!r}])"
    done = subprocess.run(
        [sys.executable, "-c", spawned if opens else inner], env=os.environ | safe_imports() | BASH,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, start_new_session=True,
    )  # fmt: skip
    assert f"in job: {expected}" in done.stdout, done.stderr
