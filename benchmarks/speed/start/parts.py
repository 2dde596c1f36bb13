"""A run as `fsbench run` does it, which notes its processor seconds: of imports, parsing, the rest, and at its end.

The first argument is the file for them; the others are those of `fsbench run`. Any version of the suite can be run.
"""

import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path

try:
    from fsbench.process import begin, heavy_imports

    process = begin()
except ImportError:  # a version from before it
    process, heavy_imports = None, nullcontext  # type: ignore[assignment]
# the order of imports is what is measured
from fsbench.config.argument_check import read_arguments


def main() -> int:
    file, arguments = Path(sys.argv[1]), sys.argv[2:]
    read_arguments(arguments)
    with heavy_imports():
        from fsbench.config.build import parse
        from fsbench.engine.experiment import Experiment
        from fsbench.engine.run import run
    imported = time.process_time()
    configuration = parse(arguments)
    parsed = time.process_time()
    run(Experiment(configuration))
    end = time.process_time()
    file.write_text(json.dumps([imported, parsed - imported, end - parsed, end]))
    return 0


sys.exit(process.run(main) if process else main())
