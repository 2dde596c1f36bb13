"""The watchdog of a run's processes alone decides how they end."""

import subprocess
import sys
import threading

from lightning.pytorch.strategies.launchers import subprocess_script

from fsbench.runner.engine.machine.watchdog import OBSERVER, ProcessWatchdog

RANK = [sys.executable, "-c", "import sys; sys.stdin.read()"]
"""Stands for a process of a run."""


def observers() -> int:
    return sum(thread.name == "child-process-observer" for thread in threading.enumerate())


def test_lightnings_own_observer_is_not_started_beside_it():
    """That kills rank 0 at some moment within 5 s of another rank's end, also while rank 0 says why."""
    start = getattr(subprocess_script, OBSERVER)
    with ProcessWatchdog(lambda: ()), subprocess.Popen(RANK, stdin=subprocess.PIPE) as rank:
        getattr(subprocess_script, OBSERVER)([rank])
        assert observers() == 0
        rank.communicate()
    assert getattr(subprocess_script, OBSERVER) is start
    with subprocess.Popen(RANK, stdin=subprocess.PIPE) as rank:
        start([rank])
        assert observers() == 1  # so that is its name
        rank.communicate()
