"""`python -m fsbench` and the program `fsbench`: the command in a process of its own."""

import sys

from fsbench.process import begin


def command() -> int:
    """Run the command that this process was started for; return its exit status."""
    end = begin()  # before the next line, since what is registered later for the process's end runs earlier
    from fsbench.cli.main import main

    return end.run(main)


if __name__ == "__main__":
    sys.exit(command())
