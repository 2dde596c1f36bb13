"""A run as `fsbench run` does it, which notes its processor seconds: of imports, parsing, the rest, and at its end.

The first argument is the file for them; the others are those of `fsbench run`.
"""

import json
import sys
import time
from pathlib import Path

from fsbench.config.build import parse
from fsbench.engine.experiment import Experiment
from fsbench.engine.run import run


def main() -> int:
    imported = time.process_time()
    file, arguments = Path(sys.argv[1]), sys.argv[2:]
    configuration = parse(arguments)
    parsed = time.process_time()
    run(Experiment(configuration))
    end = time.process_time()
    file.write_text(json.dumps([imported, parsed - imported, end - parsed, end]))
    return 0


sys.exit(main())
