"""Evaluate several cells one after the other in one group of processes: `python -m tests.cli.many_cells FILE`.

FILE is what `settings_text` makes of settings that the parser has judged, each of a cell: to judge them takes as long
as to run a cell of few episodes. Lightning starts the other ranks with the first cell that needs them; they run this
program as well, so that starting up is paid once.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from fsbench.runner.config.parse import parse_judged
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.machine.process_group import leaving_process_group
from fsbench.runner.engine.run import run_experiment


def settings_text(cells: Sequence[Namespace]) -> str:
    """Write judged settings as JSON. A namespace is an object of one key, since some values are dictionaries."""
    return json.dumps(cells, default=lambda settings: {"namespace": vars(settings)})


def read_settings(text: str) -> list[Namespace]:
    """Read what `settings_text` wrote."""

    def namespace(read: dict[str, Any]) -> Any:
        return Namespace(read["namespace"]) if read.keys() == {"namespace"} else read

    return json.loads(text, object_hook=namespace)


def main(files: Sequence[str]) -> int:
    with leaving_process_group():
        for settings in read_settings(Path(files[0]).read_text()):
            run_experiment(Experiment(parse_judged(settings)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
