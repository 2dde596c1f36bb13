import os

import pytest
from lightning.pytorch.plugins.environments import LightningEnvironment

from fsbench.base.errors import SettingsError
from fsbench.runner.engine.machine.slurm import check_tasks, in_job, plugins_in_job


@pytest.fixture
def job(monkeypatch):
    """job(tasks, nodes, per_node, **more) makes this process a task of a job."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_"))]:
        monkeypatch.delenv(name)

    def set_variables(tasks, nodes=1, per_node=None, step="0", **more):
        given = {"NTASKS": tasks, "NNODES": nodes, "NTASKS_PER_NODE": per_node, "STEP_ID": step, **more}
        for name, value in given.items():
            monkeypatch.delenv(f"SLURM_{name}", raising=False)
            if value is not None:
                monkeypatch.setenv(f"SLURM_{name}", str(value))

    return set_variables


def test_tasks_that_are_the_processes_pass(job):
    check_tasks(4, 1)  # no job at all
    for given, devices, nodes in (((1,), 1, 1), ((2, 1, 2), 2, 1), ((8, 2, 4), 4, 2)):
        job(*given)
        check_tasks(devices, nodes)
    job(2, JOB_NAME="bash")  # a shell of SLURM's
    check_tasks(1, 1)


@pytest.mark.parametrize(
    ("given", "devices", "nodes", "words"),
    [
        ((2,), 2, 1, "their number for each node is not given; expected srun --ntasks-per-node=2 fsbench bench …"),
        ((2, 1, 2, None), 2, 1, "srun did not start it"),
        ((1,), 2, 1, "has 1 task on 1 node for this run, whose settings ask for 2 .trainer.devices 2"),
        ((4, 2, 2), 4, 1, r"--ntasks-per-node=4 .*, or --trainer.devices 2 --trainer.num_nodes 2 --trainer.strategy"),
        ((3, 2), 2, 2, "srun --nodes=2 --ntasks-per-node=2 fsbench bench …$"),
        ((4, 2, 4), 2, 2, "their number for each node is 4; expected srun --nodes=2 --ntasks-per-node=2"),
    ],
)
def test_other_tasks_are_refused_by_the_first_of_them(job, given, devices, nodes, words):
    for number in (0, 1):
        job(*given, PROCID=number)
        with pytest.raises(SettingsError, match=words) as refused:
            check_tasks(devices, nodes)
        assert refused.value.is_told == bool(number)


def test_lightning_does_not_requeue_jobs(job):
    assert plugins_in_job(None) == [] and not in_job()
    job(2, 1, 2, PROCID=1, LOCALID=1, NODEID=0)
    (plugin,) = plugins_in_job(None)
    assert not plugin.auto_requeue and plugin.world_size() == 2
    own = LightningEnvironment()
    assert plugins_in_job(own) == [own]
