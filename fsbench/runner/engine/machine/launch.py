"""Check that variables such as RANK, which launchers set, belong to a launch of this very run.

Lightning, torch and W&B take a rank from several variables, each by rules of its own, before there is a Trainer. A
process that believes itself to be rank 2 of nothing writes no settings and no checkpoint. So each rank in the
environment is that of a whole launch of as many processes as the run has, or the run is refused.
"""

import os
from dataclasses import dataclass
from math import inf

from fsbench.base.environment import RANKS
from fsbench.base.errors import SettingsError
from fsbench.runner.engine.machine.slurm import check_tasks, in_job


@dataclass(frozen=True)
class Launcher:
    """A program that starts the processes of a run.

    Attributes:
        name: of it.
        variables: all that it sets for a process.
        processes: that with the number of processes.
        more: others that people set beside it.
        on_several: whether it starts processes on several machines.
        most: number of processes that it starts at most.
    """

    name: str
    variables: tuple[str, ...]
    processes: str = "WORLD_SIZE"
    more: tuple[str, ...] = ()
    on_several: bool = True
    most: float = inf

    def has_started(self, given: set[str], devices: int, nodes: int) -> bool:
        """Return whether it has started this process as one of that many, and set all that is `given`."""
        own, ranks = set(self.variables), [int(os.environ[name]) for name in given & set(RANKS)]
        is_whole = own <= given <= own | set(self.more) and (nodes == 1 or self.on_several)
        fits = devices * nodes <= self.most and all(rank < devices * nodes for rank in ranks)
        return is_whole and fits and os.environ[self.processes] == str(devices * nodes)


_SERVER = ("MASTER_ADDR", "MASTER_PORT")
LAUNCHERS = (
    Launcher(
        "torchrun",
        ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "TORCHELASTIC_RUN_ID", *_SERVER),
        more=("NODE_RANK",),
    ),
    Launcher("a job of one container", ("RANK", "WORLD_SIZE", *_SERVER), more=("LOCAL_RANK", "NODE_RANK"), most=1),
    Launcher("--devices", ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", *_SERVER), on_several=False),
    Launcher(
        "jsrun", ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_SIZE"), "JSM_NAMESPACE_SIZE", _SERVER
    ),
)
"""Launchers beside SLURM's; Lightning itself starts the further processes of `--devices`."""

IN_JOB = {
    "RANK": "SLURM_PROCID",
    "LOCAL_RANK": "SLURM_LOCALID",
    "WORLD_SIZE": "SLURM_NTASKS",
    "NODE_RANK": "SLURM_NODEID",
}
"""Variables that scripts of jobs set from those of SLURM -> these."""


def check_launch(devices: int, nodes: int) -> None:
    """Raise SettingsError where the environment has a rank that is not this process's in a run of that many processes.

    Args:
        devices: processes on each node.
        nodes: number of nodes.
    """
    names = {name for launcher in LAUNCHERS for name in launcher.variables}
    given = {name for name in names if name in os.environ}
    if devices * nodes == 1 and given <= set(_SERVER):
        given = set()  # a server that nobody asks: what `ddp_notebook` leaves in a session
    if in_job():
        check_tasks(devices, nodes)
        own = IN_JOB if "RANK" in given else IN_JOB | {"LOCAL_RANK": "SLURM_PROCID"}  # which is taken for the rank then
        wrong = {name for name in given & set(own) if os.environ[name] != os.environ.get(own[name], "0")}
    elif any(launcher.has_started(given, devices, nodes) for launcher in LAUNCHERS):
        return
    else:
        wrong = given | ({"SLURM_PROCID"} if os.environ.get("SLURM_PROCID", "0") != "0" else set())
    if wrong:
        _refuse(sorted(wrong), devices * nodes)


def _refuse(names: list[str], processes: int) -> None:
    found = ", ".join(f"{name}={os.environ[name]}" for name in names)
    number = "one process" if processes == 1 else f"{processes} processes"
    raise SettingsError(
        f"the environment has {found}, of a launch that is not whole, or not this run's, which has {number}; "
        f"expected none of {'them' if len(names) > 1 else 'it'}: env -u {' -u '.join(names)} fsbench …; or torchrun or "
        "srun that start as many processes as the run has (docs/guides/cluster.md)"
    )
