"""The states of SLURM's jobs from its queue, for clusters that keep no accounts.

submitit asks `sacct`. Where accounting is off that fails at every call, and a cancelled job would never be seen to end.
"""

import subprocess

from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

from fsbench.base.terminal import print_note

ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
}  # fmt: skip
"""States of a job that will not run again; one that is requeued has another, also after a preemption."""


class AccountWatcher(SlurmInfoWatcher):
    """Watches SLURM jobs with the command `sacct`."""

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Return whether a SLURM job has ended and will not start again."""
        return self.get_state(job_id, mode).partition(" ")[0] in ENDED


class QueueWatcher(AccountWatcher):
    """Watches SLURM jobs with the command `squeue`, all of the user's jobs in one call."""

    def _make_command(self) -> list[str] | None:
        if not self._registered - self._finished:
            return None
        return ["squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i|%T"]

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """Return each registered job's state; a job that is no longer in the queue counts as completed."""
        text = string if isinstance(string, str) else string.decode()
        states = dict(line.strip().split("|", 1) for line in text.splitlines() if "|" in line)
        shown = {job: states.get(job, "COMPLETED") for job in self._registered}
        return {job: {"JobID": job, "State": state} for job, state in shown.items()}


def choose_watcher() -> None:
    """Query SLURM jobs by `squeue` instead of `sacct` if `sacct` does not work here, and log that."""
    command = ["sacct", "--noheader", "--jobs=1"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        reason = "" if asked.returncode == 0 else asked.stderr.strip() or f"status {asked.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    SlurmJob.watcher = QueueWatcher(delay_s=600) if reason else AccountWatcher(delay_s=600)
    if reason:
        print_note(f"SLURM keeps no accounts here (sacct: {reason}); the states of jobs are read from squeue")
