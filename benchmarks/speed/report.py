"""Measure time and memory of `fsbench report` on 50 runs of 1000 episodes on each of 4 folds.

    python -m benchmarks.speed.report [--folder FOLDER]

The runs are written as in `benchmarks.speed.load` (five methods, ten seeds: 200 records), with the rows that a run
keeps for tables; the cache folder holds nothing else of an earlier report. They have no data beside them, so pictures
are not part of the time.

Two quiet CPU cores; the peak memory of the largest process:

    first    7.3 s (11.1 user, 0.7 system)   248 MiB
    again    5.0 s ( 6.7 user, 0.5 system)   248 MiB
"""

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.speed.load import GRID, LONG, call, make_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder",
        type=Path,
        help="where the runs are written, or were by an earlier call; default: a temporary folder",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        runs = (options.folder or Path(temporary)) / "fifty"
        if not runs.is_dir():
            make_runs(runs, LONG | {"methods": GRID["methods"], "seeds": list(range(10))}, 1000)
        os.environ["FSBENCH_CACHE"] = str(Path(temporary) / "cache")
        for turn in ("first", "again"):
            print(f"report, 50 runs on 4 folds, {turn}: {call('report', str(runs), '--out', f'{temporary}/report')}")


if __name__ == "__main__":
    main()
