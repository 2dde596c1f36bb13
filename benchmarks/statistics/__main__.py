"""Simulate the intervals and tests with a known truth: how often they hold, in designs that users meet.

    python -m benchmarks.statistics                                 # every cell, up to 1,000 data sets each
    python -m benchmarks.statistics pascal-1shot --repetitions 300
    python -m benchmarks.statistics --list                          # cells, and the data sets that each has
    python -m benchmarks.statistics --markdown                      # the tables of the manual

The procedure is the suite's own. A data set follows from its cell's name and its number alone, so only those that are
missing in benchmarks/statistics/results.csv are drawn, whatever the number of processes. --again draws all anew, and so
does another version of the procedure (`PROCEDURE` in benchmarks/statistics/results.py), which stands in the file.
`python -m benchmarks.statistics.page` writes the tables into docs/guarantees.md.
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.statistics.cells import CELLS
from benchmarks.statistics.page import tables
from benchmarks.statistics.results import MEASURES, RESULTS, Tally, read_results, write_results
from benchmarks.statistics.simulation import simulate
from fsbench.base.errors import SettingsError, exit_status, known_names


def main(argv: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.statistics",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cells", nargs="*", help="names (--list); all unless given")
    parser.add_argument("--repetitions", type=int, default=1000, help="data sets of each cell; default: 1000")
    parser.add_argument("--jobs", type=int, default=1, help="processes; default: 1")
    parser.add_argument("--again", action="store_true", help="draw all anew, not only those that are missing")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that they are added to")
    parser.add_argument("--list", action="store_true", help="name the cells")
    parser.add_argument("--markdown", action="store_true", help="print the tables of the manual")
    options = parser.parse_args(argv)
    return exit_status(lambda: _run(options), debug=False)


def _run(options: argparse.Namespace) -> int:
    results = read_results(options.results)
    if options.list:
        for name, cell in CELLS.items():
            done = max((tally.repetitions for tally in results.get(name, {}).values()), default=0)
            print(f"{name:28} {done:6,}  {cell.title}")
        return 0
    if options.markdown:
        print("\n\n".join(tables(results).values()))
        return 0
    for name in options.cells:
        if name not in CELLS:
            raise SettingsError(f"there is no cell {name}{known_names(name, CELLS)}")
    if options.repetitions < 1 or options.jobs < 1:
        raise SettingsError("--repetitions and --jobs are 1 or more")
    for name in options.cells or CELLS:
        _simulate(name, options)
    return 0


def _simulate(name: str, options: argparse.Namespace) -> None:
    """Draw what a cell lacks, add it to the file of results part by part, and print it."""
    kept = {} if options.again else read_results(options.results).get(name, {})
    tallies = {measure: tally for measure, tally in kept.items() if tally.is_current}
    done = max((tally.repetitions for tally in tallies.values()), default=0)
    started = time.perf_counter()
    for part in simulate(name, done, options.repetitions, options.jobs):
        tallies = {measure: tallies.get(measure, Tally(0, 0, 0)) + tally for measure, tally in part.items()}
        write_results(read_results(options.results) | {name: tallies}, options.results)
    for measure, tally in tallies.items():
        said = f"{tally.share:.3f} ± {tally.error:.3f}  {tally.verdict(MEASURES[measure])}" if tally.printed else "-"
        print(f"{name:28} {MEASURES[measure].words:40} {tally.printed:6,}  {said}", flush=True)
    print(f"{name:28} {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
