"""Ports of this machine that nothing else takes before a test does."""

import random
import socket
from pathlib import Path

LOWEST, HIGHEST = 25_000, 32_000
"""Ports below those that systems give away by themselves, and above those that Lightning derives of a SLURM job."""
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a port that is free, and stays so until a process that the test starts listens there, seconds later.

    One that the system chose would not: it gives the same one to whoever asks next, such as another test's gloo.

    Raises:
        OSError: a hundred ports in turn were taken.
    """
    given_away = int(RANGE.read_text().split()[0]) if RANGE.is_file() else HIGHEST
    draws = random.SystemRandom()  # other than those of the other processes of a test session
    for attempt in range(100):
        port = draws.randrange(LOWEST, max(min(HIGHEST, given_away), LOWEST + 1000))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                if attempt == 99:
                    raise
                continue
        return port
    raise AssertionError
