"""Runs as jobs of SLURM: its tasks are their processes, which is checked before any waits for one that never comes."""

import os
from typing import Any

from lightning.pytorch.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment

from fsbench.base.errors import SettingsError


def in_job() -> bool:
    """Return whether Lightning takes SLURM's tasks for the processes of a run: not where somebody types at a shell of
    SLURM's, nor under torchrun."""
    interactive = SLURMEnvironment.job_name() in ("bash", "interactive")
    return "SLURM_NTASKS" in os.environ and not interactive and not TorchElasticEnvironment.detect()


def plugins_in_job(given: Any) -> list[Any]:
    """Return the plugins of a Trainer, `given` and one more: in a job Lightning shall not requeue it.

    At SIGUSR1 it would write a checkpoint amid an epoch, from which the run would go on in another way than it does
    from an epoch's end.
    """
    plugins = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    if in_job() and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins


def check_tasks(devices: int, nodes: int) -> None:
    """Raise SettingsError where this is a job of SLURM whose tasks are not one for each process of the run.

    One task says it; the error of the others is told already.

    Args:
        devices: processes on each node.
        nodes: number of nodes.
    """
    if not in_job():
        return
    given = os.environ
    tasks, have_nodes = int(given["SLURM_NTASKS"]), int(given.get("SLURM_NNODES", "1"))
    per_node = given.get("SLURM_NTASKS_PER_NODE")
    if tasks == devices * nodes == 1:
        return
    right = f"srun {f'--nodes={nodes} ' if nodes > 1 else ''}--ntasks-per-node={devices} fsbench bench …"
    found = f"SLURM has {tasks} task{'s' * (tasks > 1)} on {have_nodes} node{'s' * (have_nodes > 1)} for this run"
    if (tasks, have_nodes) != (devices * nodes, nodes):
        settings = f"trainer.devices {devices}" + f", trainer.num_nodes {nodes}" * (nodes > 1)
        other = f"--trainer.devices {tasks // have_nodes}" + f" --trainer.num_nodes {have_nodes}" * (have_nodes > 1)
        message = f"{found}, whose settings ask for {devices * nodes} ({settings}); expected {right}"
        message += f", or {other} --trainer.strategy ddp" * (tasks % have_nodes == 0)
    elif per_node is None or not per_node.isdecimal() or int(per_node) != devices:
        message = f"{found}, but their number for each node is {per_node or 'not given'}; expected {right}"
    elif "SLURM_STEP_ID" not in given:
        message = f"{found}, but srun did not start it, and the others would be waited for; expected {right}"
    else:
        return
    error = SettingsError(message)
    error.is_told = given.get("SLURM_PROCID", "0") != "0"
    raise error
