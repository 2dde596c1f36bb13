"""Check that variables such as RANK, which launchers set, belong to a launch of this very run.

Lightning, torch and W&B take a rank from several variables, each by rules of its own, before there is a Trainer. A
process that believes itself to be rank 2 of nothing writes no settings and no checkpoint. So each rank in the
environment is that of a whole launch of as many processes as the run has, or the run is refused. So is a job of SLURM
whose tasks are not the run's processes, before any of them waits for one that never comes.
"""

import os
from dataclasses import dataclass
from math import inf
from typing import Any

from lightning.pytorch.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment

from fsbench.base.environment import RANKS
from fsbench.base.errors import SettingsError


@dataclass(frozen=True)
class Launcher:
    """A program that starts several processes, recognised by the environment variables it sets.

    Attributes:
        variables: environment variables that the launcher sets for each process.
        more: further environment variables that users set for the launcher.
        processes: name of the variable that holds the number of processes.
        most: largest number of processes that the launcher starts; infinite for no limit.
        most_nodes: largest number of machines on which the launcher starts processes.
    """

    variables: tuple[str, ...]
    more: tuple[str, ...] = ()
    processes: str = "WORLD_SIZE"
    most: float = inf
    most_nodes: float = inf

    def has_started(self, given: set[str], devices: int, nodes: int) -> bool:
        """Return whether the launcher started this process as one of `devices` x `nodes`; `given` are set variables."""
        own, count = set(self.variables), devices * nodes
        return (
            own <= given <= own | set(self.more)
            and os.environ[self.processes] == str(count)
            and all(int(os.environ[name]) < count for name in given & set(RANKS))
            and count <= self.most
            and nodes <= self.most_nodes
        )


_SERVER = ("MASTER_ADDR", "MASTER_PORT")
TORCHRUN = Launcher(
    ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "TORCHELASTIC_RUN_ID", *_SERVER),
    more=("NODE_RANK",),
)
CONTAINER = Launcher(("RANK", "WORLD_SIZE", *_SERVER), more=("LOCAL_RANK", "NODE_RANK"), most=1)
LIGHTNING = Launcher(("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", *_SERVER), most_nodes=1)
JSRUN = Launcher(
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_SIZE"), _SERVER, processes="JSM_NAMESPACE_SIZE"
)
LAUNCHERS = (TORCHRUN, CONTAINER, LIGHTNING, JSRUN)
"""Launchers beside SLURM's; a container's job has one process, and Lightning starts the further ones of `--devices`."""

IN_JOB = {
    "RANK": "SLURM_PROCID",
    "LOCAL_RANK": "SLURM_LOCALID",
    "WORLD_SIZE": "SLURM_NTASKS",
    "NODE_RANK": "SLURM_NODEID",
}
"""Variables that scripts of jobs set from those of SLURM -> these."""


def check_launch(devices: int, nodes: int) -> None:
    """Raise SettingsError if a launcher's environment variables contradict the number of processes of a run.

    Args:
        devices: processes on each node.
        nodes: number of nodes.
    """
    names = {name for launcher in LAUNCHERS for name in launcher.variables}
    given = {name for name in names if name in os.environ}
    if devices * nodes == 1 and given <= set(_SERVER):
        given = set()  # a server that nobody asks: what `ddp_notebook` leaves in a session
    if in_job():
        _check_tasks(devices, nodes)
        own = IN_JOB if "RANK" in given else IN_JOB | {"LOCAL_RANK": "SLURM_PROCID"}  # which is taken for the rank then
        wrong = {name for name in given & set(own) if os.environ[name] != os.environ.get(own[name], "0")}
    elif any(launcher.has_started(given, devices, nodes) for launcher in LAUNCHERS):
        return
    else:
        wrong = given | ({"SLURM_PROCID"} if os.environ.get("SLURM_PROCID", "0") != "0" else set())
    if not wrong:
        return
    found = ", ".join(f"{name}={os.environ[name]}" for name in sorted(wrong))
    number = "one process" if devices * nodes == 1 else f"{devices * nodes} processes"
    raise SettingsError(
        f"the environment has {found}, which an incomplete launch or one of another run has left; this run has "
        f"{number}. Remove {'them' if len(wrong) > 1 else 'it'} with: env -u {' -u '.join(sorted(wrong))} fsbench …; "
        "or start as many processes as the run has with torchrun or srun (docs/guides/cluster.md)"
    )


def in_job() -> bool:
    """Return whether this process is a SLURM task that was started as one of a run's processes.

    Lightning takes a job named "bash" for an interactive shell, but any job may have this name. Tasks started by srun
    have no terminal, unless they belong to an interactive shell (`srun -n 4 --pty bash`).
    """
    interactive = SLURMEnvironment.job_name() in ("bash", "interactive")
    is_task = "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    is_typed = interactive and (not is_task or _has_terminal())
    return "SLURM_NTASKS" in os.environ and not is_typed and not TorchElasticEnvironment.detect()


def _has_terminal() -> bool:
    """Return whether a terminal controls this process, wherever its input and output go."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def is_first() -> bool:
    """Return whether this is the first process of its launch, which prints for all."""
    rank = "RANK" if TorchElasticEnvironment.detect() else "SLURM_PROCID" if in_job() else ""
    return os.environ.get(rank, "0") == "0"


def plugins_in_job(given: Any) -> list[Any]:
    """Return a Trainer's plugins with one added that keeps Lightning from requeueing a SLURM job.

    At SIGUSR1, Lightning would write a checkpoint in the middle of an epoch, but a run can only resume from an epoch's
    end.
    """
    plugins = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    if in_job() and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins


def _check_tasks(devices: int, nodes: int) -> None:
    """Raise SettingsError where the tasks of this job of SLURM are not one for each process of the run.

    One task says it; the error of the others is told already.
    """
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
        message = f"{found}, but the number of tasks on each node is {per_node or 'not given'}; expected {right}"
    elif "SLURM_STEP_ID" not in given:
        message = f"{found}, but this process was not started by srun and would wait for the others; expected {right}"
    else:
        return
    error = SettingsError(message)
    error.is_told = given.get("SLURM_PROCID", "0") != "0"
    raise error
