"""`fsbench supports`: what the choice of the supports does to the scores of finished runs."""

import argparse
import sys
from pathlib import Path

from fsbench.base.errors import FsbenchError, SettingsError, user_message
from fsbench.base.terminal import print_line
from fsbench.cli.analysis import add_output_options, show
from fsbench.records.record import Record
from fsbench.results.tables.analyses import SUPPORTS
from fsbench.results.tables.supports.sensitivity import Measure, Properties, sensitivity_tables


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs that were made with DRAWS=8 (--draws)")
    parser.add_argument("--no-properties", action="store_true", help="leave out what good supports have in common")
    parser.add_argument(
        "--similarity", action="store_true", help="measure their likeness to the query, too, by the run's network"
    )
    add_output_options(parser, SUPPORTS.name)
    parser.set_defaults(function=_supports)


def _supports(options: argparse.Namespace, extra: list[str]) -> int:
    if options.no_properties and options.similarity:
        raise SettingsError("--similarity is a property, and --no-properties leaves all out; expected one of them")
    measure = None if options.no_properties else _measure(options.similarity)
    return show(options, SUPPORTS, lambda records: sensitivity_tables(records, measure))


def _measure(similarity: bool) -> Measure:
    """Return what measures supports where their images are at hand; without them properties are left out."""
    # the data sets: seconds, which other formats and refusals do without
    from fsbench.pages.explain.support_properties import support_properties

    def measure(record: Record) -> Properties:
        try:
            return support_properties(record, similarity)
        except FsbenchError as error:
            if similarity:
                raise
            print_line(f"fsbench: {record.path.name}: supports are not measured: {user_message(error)}", sys.stderr)
            return {}

    return measure
