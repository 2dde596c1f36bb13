"""`fsbench report`: pages of finished runs."""

import argparse
import shlex
import sys
from pathlib import Path

from fsbench.cli.parser import add_rank_all
from fsbench.cli.table import measure_for
from fsbench.config.limits import whole
from fsbench.papers.published import published_scores
from fsbench.protocols.registry import metric_names
from fsbench.report.explorer.write import ExplorerOptions
from fsbench.report.site import ReportOptions, write_report
from fsbench.terminal import print_error, print_line


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
    words = ["fsbench", "report", *map(str, options.runs), "--out", str(options.out)]
    words += ["--metrics", options.metrics] if options.metrics is not None else []
    words += ["--gallery", str(options.gallery)] if options.gallery != 12 else []
    words += ["--no-photos"] if options.no_photos else []
    words += ["--photo-side", str(options.photo_side)] if options.photo_side != 320 else []
    words += ["--photo-budget", str(options.photo_budget)] if options.photo_budget != 64 else []
    words += ["--compare", str(options.compare)] if options.compare is not None else []
    words += ["--method", options.method] if options.method is not None else []
    words += ["--rank-all"] if options.rank_all else []
    methods = [] if options.method is None else [name.strip() for name in options.method.split(",") if name.strip()]
    metrics = None if options.metrics is None else metric_names(options.metrics)
    command = shlex.join(words)
    explorer = ExplorerOptions(options.gallery, not options.no_photos, options.photo_side, options.photo_budget * 2**20)
    measure = measure_for(metrics or ())
    chosen = ReportOptions(
        options.runs, options.out, metrics, explorer, options.compare, command, methods, measure, options.rank_all
    )
    refused = write_report(chosen, published_scores(), lambda line: print_line(line, sys.stderr))
    print_line(f"{options.out / 'index.html'}")
    for message in refused:
        print_error(f"left out: {message}")
    return 1 if refused else 0
