"""Evaluate several cells one after the other in one group of processes: `python -m tests.cli.many_cells FILE`.

FILE is a pickled list of settings that the parser has judged, each of a cell: to judge them takes as long as to run a
cell of few episodes. Lightning starts the other ranks with the first cell that needs them; they run this program as
well, so that starting up is paid once.
"""

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

from fsbench.runner.config.parse import parse_judged
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.machine.process_group import leaving_process_group
from fsbench.runner.engine.run import run_experiment


def main(files: Sequence[str]) -> int:
    with leaving_process_group():
        for settings in pickle.loads(Path(files[0]).read_bytes()):
            run_experiment(Experiment(parse_judged(settings)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
