"""A SLURM of one node for tests: its daemons, with a folder, ports and keys of their own."""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.ports import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scancel", "scontrol", "squeue", "setpriv")
"""Debian's packages munge, slurmctld, slurmd, slurm-client and util-linux."""

CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
SchedulerParameters=batch_sched_delay=0,sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
FirstJobId={first}
KillWait=5
NodeName=localhost NodeAddr=127.0.0.1 NodeHostname={host} CPUs=2 State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=60 State=UP
"""
"""Without accounting, as many small clusters. A requeued job waits `cred_expire` seconds, else two minutes."""


class Slurm:
    """A running SLURM.

    Attributes:
        folder: of its state and logs.
        environment: variables with which SLURM's commands, and what calls them, find it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    def call(self, *command: str, **more: str) -> str:
        """Return the output of one of SLURM's commands."""
        environment = os.environ | self.environment | more
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout.strip()

    def submit(self, command: Sequence[str], folder: Path, tasks: int, environment: dict[str, str]) -> str:
        """Send a script that starts `command` with srun, in `folder`; returns the job's number."""
        script = folder / "job.sh"
        script.write_text('#!/bin/bash\nexec srun "$@"\n')
        options = [
            "--job-name=bash",  # by which Lightning takes a job for a shell
            f"--ntasks-per-node={tasks}",
            f"--chdir={folder}",
            f"--output={folder}/job.log",
            "--open-mode=append",
        ]
        return self.call("sbatch", "--parsable", *options, str(script), *command, **environment)

    def state(self, job: str) -> str:
        return self.call("squeue", f"--jobs={job}", "--states=all", "--noheader", "--format=%T")

    def wait(self, reached: Callable[[], bool], what: str, seconds: float = 240) -> None:
        """Wait until something is so; SLURM's own logs are in the error else."""
        end = time.monotonic() + seconds
        while not reached():
            logs = "\n".join(file.read_text(errors="replace")[-2000:] for file in self.folder.glob("*.log"))
            assert time.monotonic() < end, f"{what}: not after {seconds} s; {logs}"
            time.sleep(0.2)  # to ask SLURM takes time from its jobs, which have the same cores


def missing() -> str:
    """Return why there can be no SLURM here; empty if there can."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        return f"no {', '.join(absent)} (Debian: apt-get install --no-install-recommends munge slurm-wlm)"
    return "" if getpass.getuser() == "root" else "slurmd needs root"


@contextmanager
def started_slurm() -> Iterator[Slurm]:
    """Start a SLURM, and stop all of it at the end; its daemons end with this process as well."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # its sockets' names must be short
    folder.chmod(0o755)  # as munged wants it
    slurm = Slurm(folder)
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        _configure(folder)
        munge = ["--force", f"--socket={folder}/munge.socket", f"--key-file={folder}/munge.key"]
        munge += [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
        daemons.append(_daemon(slurm, "munged", "--foreground", *munge))
        slurm.wait((folder / "munge.socket").exists, "munged")
        daemons.append(_daemon(slurm, "slurmctld", "-D", "-c"))
        daemons.append(_daemon(slurm, "slurmd", "-D", "-N", "localhost"))
        slurm.wait(lambda: _answers(slurm), "slurmd")
        yield slurm
    finally:
        _stop(slurm, daemons)
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path) -> None:
    ports = [free_port(), free_port()]
    while ports[0] == ports[1]:
        ports[1] = free_port()
    values = {"folder": folder, "controller": ports[0], "node": ports[1], "host": socket.gethostname()}
    first = 1000 + ports[0] % 8000  # Lightning's port is that of the job's last four digits
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**values, first=first))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    for name in ("state", "spool"):
        (folder / name).mkdir()


def _daemon(slurm: Slurm, name: str, *options: str) -> subprocess.Popen[bytes]:
    environment = os.environ | slurm.environment
    environment["PATH"] = os.pathsep.join([environment.get("PATH", ""), "/usr/sbin", "/sbin"])
    with (slurm.folder / f"{name}.log").open("wb") as log:
        command = ["setpriv", "--pdeathsig", "TERM", name, *options]
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _answers(slurm: Slurm) -> bool:
    shown = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"], env=os.environ | slurm.environment, capture_output=True, check=False
    )
    return shown.stdout.strip() == b"idle"


def _stop(slurm: Slurm, daemons: Sequence[subprocess.Popen[bytes]]) -> None:
    """End jobs, daemons (the last started first), and then whatever else was started in this SLURM."""
    if len(daemons) == 3:
        subprocess.run(
            ["scancel", "--user=root"],
            env=os.environ | slurm.environment,
            capture_output=True,
            timeout=120,
            check=False,
        )
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(timeout=10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
    ends = time.monotonic() + 240
    while left := processes_of(slurm):  # what is killed takes a moment to go
        assert time.monotonic() < ends, f"these processes of {slurm.folder} do not end: {left}"
        for process in left:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)


def processes_of(slurm: Slurm) -> list[int]:
    """Return the processes that know this SLURM's configuration."""
    mark = f"SLURM_CONF={slurm.folder}/".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found
