"""`python -m fsbench` and the program `fsbench`."""

import sys

from fsbench.cli.main import main as command

if __name__ == "__main__":
    sys.exit(command())
