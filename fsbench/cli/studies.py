"""`fsbench table --by shots` and the like: effects of one setting, from runs that differ in it alone."""

import argparse
import sys
from collections.abc import Sequence

from fsbench.base.errors import FsbenchError, SettingsError, user_message
from fsbench.base.terminal import print_line
from fsbench.cli.analysis import show
from fsbench.protocols.reading import metric_names
from fsbench.records.record import Record
from fsbench.results.tables.analyses import ANNOTATIONS, CURVES, SUPPORTS
from fsbench.results.tables.annotations.losses import annotation_tables
from fsbench.results.tables.supports.sensitivity import Measure, Properties, sensitivity_tables
from fsbench.results.tables.sweep.axes import AXES
from fsbench.results.tables.sweep.curves import CurveTable, curve_tables
from fsbench.results.tables.sweep.objects import object_tables


def by_number(options: argparse.Namespace) -> int:
    """Show score, time and memory by the numbers that `options.by` names; returns the exit status."""
    axes = [name for name, axis in AXES.items() if axis.word in options.by]
    return show(options, CURVES, lambda records: curve_tables(records, axes), options.caption)


def by_objects(options: argparse.Namespace) -> int:
    """Show scores by the number of objects in the query, which is counted in the data of the runs."""

    def tables(records: Sequence[Record]) -> list[CurveTable]:
        # the data sets: seconds, which other numbers do without
        from fsbench.pages.explain.query_objects import query_objects

        return object_tables(records, query_objects)

    return show(options, CURVES, tables, options.caption)


def by_annotation(options: argparse.Namespace) -> int:
    """Show what weaker annotations of the supports cost against masks; returns the exit status."""
    metrics = None if options.metrics is None else metric_names(options.metrics)
    return show(options, ANNOTATIONS, lambda records: annotation_tables(records, metrics), options.caption)


def by_draw(options: argparse.Namespace) -> int:
    """Show what the choice of the supports does to the scores; returns the exit status."""
    if options.no_properties and options.similarity:
        raise SettingsError("--similarity is a property, and --no-properties leaves all out; expected one of them")
    measure = None if options.no_properties else _measure(options.similarity)
    return show(options, SUPPORTS, lambda records: sensitivity_tables(records, measure), options.caption)


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
