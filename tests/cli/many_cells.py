"""Evaluate several cells one after the other in one group of processes: `python -m tests.cli.many_cells FILE`.

FILE is JSON: a list of argument lists, each of a cell. Lightning starts the other ranks with the first cell that needs
them; they run this program as well, so that starting up is paid once.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.machine.process_group import leaving_process_group
from fsbench.runner.engine.run import run_experiment
from tests.config_words import parse


def main(files: Sequence[str]) -> int:
    with leaving_process_group():
        for arguments in json.loads(Path(files[0]).read_text()):
            run_experiment(Experiment(parse(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
