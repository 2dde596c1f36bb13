"""`fsbench curves`: score, time and memory of finished runs by shots, ways, image side, kept share or objects."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fsbench.cli.analysis import add_output_options, show
from fsbench.records.record import Record
from fsbench.results.tables.analyses import CURVES
from fsbench.results.tables.sweep.axes import OBJECTS, WORDS
from fsbench.results.tables.sweep.curves import CurveTable, curve_tables
from fsbench.results.tables.sweep.objects import object_tables


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs that differ in such a number")
    parser.add_argument(
        "--by", choices=tuple(WORDS), help="number (default: every one by which runs differ); objects reads the data"
    )
    parser.add_argument("--caption", metavar="TEXT", default="", help="line below the figure")
    add_output_options(parser, CURVES.name)
    parser.set_defaults(function=_curves)


def _curves(options: argparse.Namespace, extra: list[str]) -> int:
    def tables(records: Sequence[Record]) -> list[CurveTable]:
        return _by_objects(records) if options.by == OBJECTS else curve_tables(records, options.by)

    return show(options, CURVES, tables, options.caption)


def _by_objects(records: Sequence[Record]) -> list[CurveTable]:
    """Return the scores by the number of objects in the query, which is counted in the data of the runs."""
    # the data sets: seconds, which other numbers do without
    from fsbench.pages.explain.query_objects import query_objects

    return object_tables(records, query_objects)
