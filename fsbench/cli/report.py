"""`fsbench report`: pages of finished runs."""

import argparse
import sys
from pathlib import Path

from fsbench.base.errors import say_left_out
from fsbench.base.terminal import print_line
from fsbench.cli.parser import add_rank_all
from fsbench.doors.runs import Runs
from fsbench.runner.config.limits import whole


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder of the pages; a report is replaced")
    parser.add_argument("--metrics", help="with commas, the first ranks (fsbench list)")
    parser.add_argument(
        "--gallery",
        type=whole(0, 10000),
        default=12,
        metavar="N",
        help="episodes predicted again for each two methods, of runs that kept no predictions",
    )
    parser.add_argument("--no-photos", action="store_true", help="leave images out, so that pages can be published")
    parser.add_argument("--photo-side", type=whole(32, 4096), default=320, metavar="PX", help="longer side of an image")
    parser.add_argument(
        "--photo-budget", type=whole(1, 10**6), default=64, metavar="MIB", help="at most so much of images for a table"
    )
    parser.add_argument(
        "--compare", type=whole(2, 10000), metavar="N", help="methods in the matrix, the best (default: about 20)"
    )
    add_rank_all(parser)
    parser.add_argument("--method", metavar="M[,M]", help="only these methods (default: all that have runs)")
    parser.set_defaults(function=_report)


def _report(options: argparse.Namespace, extra: list[str]) -> int:
    runs = Runs(options.runs)
    page = runs.report(
        options.out,
        metrics=options.metrics,
        methods=options.method or (),
        gallery=options.gallery,
        photos=not options.no_photos,
        photo_side=options.photo_side,
        photo_budget=options.photo_budget,
        most=options.compare,
        rank_all=options.rank_all,
        say=lambda line: print_line(line, sys.stderr),
    )
    print_line(f"{page}")
    return say_left_out(runs.left_out)
