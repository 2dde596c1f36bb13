"""Evaluate several cells one after the other in one group of processes: `python -m tests.cli.many_cells FILE`.

FILE is JSON: a list of argument lists, each of a cell. Lightning starts the other ranks with the first cell that needs
them; they run this program as well, so that starting up is paid once.
"""

import json
import sys
from pathlib import Path

from fsbench.config.compose import parse
from fsbench.engine.experiment import Experiment
from fsbench.engine.runner import run


def main() -> None:
    for arguments in json.loads(Path(sys.argv[1]).read_text()):
        run(Experiment(parse(arguments)))


if __name__ == "__main__":
    main()
