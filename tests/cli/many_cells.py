"""Evaluate several cells one after the other in one group of processes: `python -m tests.cli.many_cells FILE`.

FILE is JSON: a list of argument lists, each of a cell. Lightning starts the other ranks with the first cell that needs
them; they run this program as well, so that starting up is paid once.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fsbench.process import begin


def main(files: Sequence[str]) -> int:
    # only now: what they register for the process's end must run before what `begin` does
    from fsbench.config.build import parse
    from fsbench.engine.experiment import Experiment
    from fsbench.engine.run import run

    for arguments in json.loads(Path(files[0]).read_text()):
        run(Experiment(parse(arguments)))
    return 0


if __name__ == "__main__":
    end = begin()  # the group of ranks is left before the process ends, as by `python -m fsbench`
    sys.exit(end.run(lambda: main(sys.argv[1:])))
