"""`fsbench annotations`: what weaker annotations of the supports cost against masks, from finished runs."""

import argparse
from pathlib import Path

from fsbench.cli.table import finished_records
from fsbench.config.limits import check_output_file, check_replaced, whole
from fsbench.errors import say_left_out
from fsbench.files.figures import check_figure
from fsbench.metrics.paired import RESAMPLES
from fsbench.metrics.scores import metric_names
from fsbench.tables.annotations.losses import annotation_tables, to_csv, to_sheet
from fsbench.tables.annotations.plot import save_plot
from fsbench.tables.compare_layout import PLOTS
from fsbench.tables.formats import SHEETS, as_json, text
from fsbench.terminal import print_block, text_width

FORMATS = ("text", "markdown", "latex", "csv", "json")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", type=Path, help="folders of runs with masks and with other SUPPORT_ANNOTATIONs"
    )
    parser.add_argument("--metrics", help="with commas (see: fsbench list); default: the protocol's first")
    parser.add_argument("--resamples", type=whole(100, 10**6), default=RESAMPLES, help="of bootstrap and swap test")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=f"figure: {', '.join(PLOTS)}")
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.set_defaults(function=_annotations)


def _annotations(options: argparse.Namespace, extra: list[str]) -> int:
    if options.plot is not None:
        check_output_file(options.plot, "--plot")
        check_replaced(options.plot, "--plot", "figure of fsbench", check_figure)
    records, refused = finished_records(options.runs)
    metrics = None if options.metrics is None else metric_names(options.metrics)
    tables = annotation_tables(records, metrics, options.resamples)
    if options.plot is not None:
        save_plot(options.plot, tables)
    if options.format == "csv":
        print_block(to_csv(tables))
    elif options.format == "json":
        print_block(as_json(tables))
    elif options.format == "text":
        width, wrap = text_width()
        print_block(text([to_sheet(table, width) for table in tables], width if wrap else None))
    else:
        print_block(SHEETS[options.format]([to_sheet(table) for table in tables]))
    return say_left_out(refused)
