"""Measure how many points the protocol alone moves.

    python -m benchmarks.protocols --dataset pascal --data-root DIR --method prototype --method "emat=CKPT ARGS" -- ARGS
    python -m benchmarks.protocols --from-runs runs --origin WORDS --write benchmarks/protocols/results/NAME.json
    python -m benchmarks.protocols --dataset coco --fold 0 --method emat=CKPT_OF_FOLD_1 --in-domain
    python -m benchmarks.protocols --across-domains --method prototype --method hsnet [--data-root FOLDER_OF_ALL]
    python -m benchmarks.protocols --dataset pascal --method bam --method pfenet --filter

The first evaluates the same methods and weights under every protocol and setting. Arguments behind a method go to its
runs, those after `--` to every run, in LightningCLI's form. Runs are found again in `--runs`; a condition that the data
cannot supply is named with its reason.

The second makes no run: of finished ones it measures the number of episodes, the resolution and the smallest object,
and sets methods and trainings side by side. The third evaluates a checkpoint that saw the classes of the test, which is
refused elsewhere; its card says so. The fourth turns the switches of tests across domains one by one, on real data
(FOLDER_OF_ALL/isic, …/pascal) or on drawn ones in the true layouts. The fifth trains each method twice, with and
without the training images that show a novel class (`FILTER=1` and `0`), and prints what that moves.
"""

import argparse
import shlex
import sys
from pathlib import Path

from benchmarks.protocols.conditions import measure
from benchmarks.protocols.filtering import compare_filters
from benchmarks.protocols.finished import TABLES, write_tables
from benchmarks.protocols.in_domain import evaluate_in_domain
from benchmarks.protocols.switches import measure_switches


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset")
    parser.add_argument("--data-root")
    parser.add_argument("--lists", action="append", default=[])
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--method", action="append", default=[], help="name or name=checkpoint, then arguments")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--protocol", help="of runs in domain and of --filter, instead of the method's own")
    parser.add_argument("--in-domain", action="store_true", help="the checkpoint saw the classes of the test")
    parser.add_argument("--across-domains", action="store_true", help="the switches of tests across domains")
    parser.add_argument("--filter", action="store_true", help="train with and without BAM's filter of training images")
    parser.add_argument("--from-runs", type=Path, nargs="+", help="folders of finished runs, which are compared")
    parser.add_argument("--long", type=Path, help="folder of a run of many episodes, for the table of these")
    parser.add_argument("--origin", default="Runs on this machine.", help="how the finished runs were made, in words")
    parser.add_argument("--write", type=Path, help="file of tables of --from-runs, from which the manual is written")
    parser.add_argument("--only", action="append", default=[], choices=TABLES, help="these tables of --from-runs alone")
    parser.add_argument("--prefix", default="", help="begin the tables' names with this, such as photos-")
    parser.add_argument("extra", nargs="*", help="arguments of every run")
    options = parser.parse_args(argv)
    if options.from_runs:
        made = write_tables(
            options.from_runs, options.origin, options.write, options.long, options.only, options.prefix
        )
        print(made)
        return 0
    if options.across_domains and options.method:
        print(measure_switches([shlex.split(method) for method in options.method], options))
        return 0
    if not options.dataset or not options.method:
        parser.error("expected --dataset and --method, --across-domains and --method, or --from-runs; see --help")
    methods = [shlex.split(method) for method in options.method]
    if options.filter:
        print(compare_filters(methods, options))
        return 0
    print(evaluate_in_domain(methods, options) if options.in_domain else measure(methods, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
