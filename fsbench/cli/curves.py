"""`fsbench curves`: score, time and memory of finished runs by shots, ways, image side, kept share or objects."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fsbench.cli.table import finished_records
from fsbench.config.limits import check_output_file, check_replaced
from fsbench.errors import say_left_out
from fsbench.files.figures import check_figure
from fsbench.records.record import Record
from fsbench.tables.compare_layout import PLOTS
from fsbench.tables.formats import SHEETS, as_json, text
from fsbench.tables.sweep.axes import OBJECTS, WORDS
from fsbench.tables.sweep.curves import CurveTable, curve_tables, to_csv, to_sheet
from fsbench.tables.sweep.objects import object_tables
from fsbench.tables.sweep.plot import save_plot
from fsbench.terminal import print_block, text_width

FORMATS = ("text", "markdown", "latex", "csv", "json")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs that differ in such a number")
    parser.add_argument(
        "--by", choices=tuple(WORDS), help="number (default: every one by which runs differ); objects reads the data"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help=f"figure: {', '.join(PLOTS)}")
    parser.add_argument("--caption", metavar="TEXT", default="", help="line below the figure")
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.set_defaults(function=_curves)


def _curves(options: argparse.Namespace, extra: list[str]) -> int:
    if options.plot is not None:
        check_output_file(options.plot, "--plot")
        check_replaced(options.plot, "--plot", "figure of fsbench", check_figure)
    records, refused = finished_records(options.runs)
    tables = _by_objects(records) if options.by == OBJECTS else curve_tables(records, options.by)
    if options.plot is not None:
        save_plot(options.plot, tables, options.caption)
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


def _by_objects(records: Sequence[Record]) -> list[CurveTable]:
    """Return the scores by the number of objects in the query, which is counted in the data of the runs."""
    # the data sets: seconds, which other numbers do without
    from fsbench.explain.query_objects import query_objects

    return object_tables(records, query_objects)
