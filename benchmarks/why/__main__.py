"""Simulate disputes about figures: does `fsbench why` name what was hidden, and nothing else?

    python -m benchmarks.why                            # 500 disputes, into benchmarks/why/results.json
    python -m benchmarks.why --seed 1 --disputes 100 --results mine.json
    python -m benchmarks.why --samples demo,demo-fold   # those without data
    python -m benchmarks.why --markdown                 # the tables of the guide

A dispute is a run, whose predictions are stored, and a claimed figure, which is counted without the suite's code. The
samples of real photos lie in the folder that FSBENCH_TEST_DATA names. `python -m benchmarks.why.page` writes the tables
into docs/guides/why-disputes.md.
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.why.page import tables
from benchmarks.why.results import RESULTS, TARGETS, read_outcomes, tally, write_outcomes
from benchmarks.why.samples import SAMPLES
from benchmarks.why.simulation import simulate
from fsbench.base.errors import SettingsError, exit_status, known_names

SEED = 2029
"""Seed of the committed disputes. All that answers them was made on others, but for the limit `explain.SURE`."""


def main(argv: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.why", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--disputes", type=int, default=500, help="their number; default: 500")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of all that is drawn; default: {SEED}")
    parser.add_argument(
        "--samples", default=",".join(SAMPLES), help=f"names with commas; default: {', '.join(SAMPLES)}"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/why"), help="folder of the runs, which are found again")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that is written, or read by --markdown")
    parser.add_argument("--markdown", action="store_true", help="print the tables of the guide")
    options = parser.parse_args(argv)
    return exit_status(lambda: _run(options), debug=False)


def _run(options: argparse.Namespace) -> int:
    if options.markdown:
        print("\n\n".join(tables(read_outcomes(options.results)[1]).values()))
        return 0
    names = [name.strip() for name in options.samples.split(",") if name.strip()]
    for name in names:
        if name not in SAMPLES:
            raise SettingsError(f"there is no sample {name}{known_names(name, SAMPLES)}")
    if options.disputes < 1 or options.seed < 0 or not names:
        raise SettingsError("expected one dispute or more, a seed of 0 or more, and a sample")
    outcomes, started = [], time.perf_counter()
    for part in simulate(options.seed, options.disputes, names, options.runs):
        outcomes += part
        words = f"{part[0].sample}, {part[0].method}" if part else "a run without disputes"
        print(f"{words}: {len(part)} disputes, {time.perf_counter() - started:.0f} s", flush=True)
    outcomes.sort(key=lambda one: one.number)
    write_outcomes(options.seed, outcomes, options.results)
    for target in TARGETS.values():
        found = tally(outcomes, target)
        said = f"{found.share:.3f} ± {found.error:.3f}  {found.verdict(target.measure)}" if found.printed else "-"
        print(f"{target.measure.words:28} {found.printed:4} of {len(outcomes)}  {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
