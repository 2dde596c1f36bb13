"""The process of one run of a command."""

import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import DEVNULL, Popen

from fsbench.engine.machine.watchdog import child_environment

STDERR = 2  # the file descriptor


def start_run(arguments: Sequence[str], log: Path | None = None) -> "Popen[bytes]":
    """Start `fsbench` with `arguments` in a process that ends when this one does, however that happens.

    Args:
        arguments: of the command line.
        log: file that all its output is appended to. Then it has a session of its own: Ctrl-C in a terminal reaches
            this process alone. None for this process's standard error, since progress is no output.
    """
    command = [sys.executable, "-m", "fsbench", *arguments]
    if log is None:
        return Popen(command, stdout=STDERR, env=child_environment())
    with log.open("a") as out:
        return Popen(
            command, stdin=DEVNULL, stdout=out, stderr=out, env=child_environment(), start_new_session=True
        )  # fmt: skip
