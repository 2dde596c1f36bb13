"""`fsbench supports`: what the choice of the supports does to the scores of finished runs."""

import argparse
import sys
from pathlib import Path

from fsbench.cli.table import finished_records
from fsbench.config.limits import check_output_file, check_replaced, whole
from fsbench.errors import FsbenchError, SettingsError, say_left_out, user_message
from fsbench.files import write_text
from fsbench.files.figures import check_figure
from fsbench.files.folders import check_free, replacing_folder
from fsbench.metrics.bootstrap import RESAMPLES
from fsbench.records.record import Record
from fsbench.tables.compare_layout import PLOTS
from fsbench.tables.formats import SHEETS, as_json, text
from fsbench.tables.supports.layout import to_csv, to_sheet
from fsbench.tables.supports.plot import save_plot
from fsbench.tables.supports.sensitivity import Measure, Properties, sensitivity_tables
from fsbench.terminal import print_block, print_line, text_width

MARK = "supports.json"
"""File by which a folder of `--out` is known."""
FORMATS = ("text", "markdown", "latex", "csv", "json")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs that were made with DRAWS=8 (--draws)")
    parser.add_argument("--no-properties", action="store_true", help="leave out what good supports have in common")
    parser.add_argument(
        "--similarity", action="store_true", help="measure their likeness to the query, too, by the run's network"
    )
    parser.add_argument("--resamples", type=whole(100, 10**6), default=RESAMPLES, help="of the bootstrap")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=f"figure: {', '.join(PLOTS)}")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write supports.txt, .csv and .json there, too")
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.set_defaults(function=_supports)


def _supports(options: argparse.Namespace, extra: list[str]) -> int:
    if options.no_properties and options.similarity:
        raise SettingsError("--similarity is a property, and --no-properties leaves all out; expected one of them")
    if options.plot is not None:
        check_output_file(options.plot, "--plot")
        check_replaced(options.plot, "--plot", "figure of fsbench", check_figure)
    if options.out is not None:
        check_free(options.out, MARK, "comparison")
    records, refused = finished_records(options.runs)
    measure = None if options.no_properties else _measure(options.similarity)
    tables = sensitivity_tables(records, measure, options.resamples)
    if options.plot is not None:
        save_plot(options.plot, tables)
    width, wrap = text_width()
    if options.out is not None:
        with replacing_folder(options.out, MARK, "comparison") as new:
            write_text(new / "supports.txt", text([to_sheet(table, width) for table in tables], width))
            write_text(new / "supports.csv", to_csv(tables))
            write_text(new / MARK, as_json(tables))
    if options.format == "csv":
        print_block(to_csv(tables))
    elif options.format == "json":
        print_block(as_json(tables))
    elif options.format == "text":
        print_block(text([to_sheet(table, width) for table in tables], width if wrap else None))
    else:
        print_block(SHEETS[options.format]([to_sheet(table) for table in tables]))
    return say_left_out(refused)


def _measure(similarity: bool) -> Measure:
    """Return what measures supports where their images are at hand; without them properties are left out."""
    # the data sets: seconds, which other formats and refusals do without
    from fsbench.explain.support_properties import support_properties

    def measure(record: Record) -> Properties:
        try:
            return support_properties(record, similarity)
        except FsbenchError as error:
            if similarity:
                raise
            print_line(f"fsbench: {record.path.name}: supports are not measured: {user_message(error)}", sys.stderr)
            return {}

    return measure
