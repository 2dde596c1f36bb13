"""`fsbench curves`: score, time and memory of finished runs by shots, ways, image side or kept share of supports."""

import argparse
from pathlib import Path

from fsbench.cli.table import finished_records
from fsbench.config.limits import check_output_file
from fsbench.errors import say_left_out
from fsbench.tables.compare_layout import PLOTS
from fsbench.tables.formats import SHEETS, as_json, text
from fsbench.tables.sweep.axes import AXES
from fsbench.tables.sweep.curves import curve_tables, to_csv, to_sheet
from fsbench.tables.sweep.plot import save_plot
from fsbench.terminal import print_block, text_width

FORMATS = ("text", "markdown", "latex", "csv", "json")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs that differ in such a number")
    parser.add_argument("--by", choices=tuple(AXES), help="number (default: every one that differs)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=f"figure: {', '.join(PLOTS)}")
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.set_defaults(function=_curves)


def _curves(options: argparse.Namespace, extra: list[str]) -> int:
    if options.plot is not None:
        check_output_file(options.plot, "--plot")
    records, refused = finished_records(options.runs)
    tables = curve_tables(records, options.by)
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
