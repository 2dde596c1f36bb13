"""`fsbench table --by shots` and the like: effects of one setting, from runs that differ in it alone."""

import argparse
import sys
from collections.abc import Callable, Sequence

from fsbench.base.errors import FsbenchError, SettingsError, say_left_out, user_message
from fsbench.base.files import write_text
from fsbench.base.files.folders import check_free, replacing_folder
from fsbench.base.terminal import print_block, print_line, text_width
from fsbench.cli.options import check_plot_file
from fsbench.protocols.reading import metric_names
from fsbench.records.record import Record, finished_records, leave_out_damaged
from fsbench.results.rows.scoring import Request
from fsbench.results.studies.analyses import ANNOTATIONS, CURVES, SUPPORTS
from fsbench.results.studies.analysis import Analysis, T
from fsbench.results.studies.annotations.losses import annotation_tables
from fsbench.results.studies.supports.sensitivity import Measure, Properties, sensitivity_tables
from fsbench.results.studies.sweep.axes import AXES
from fsbench.results.studies.sweep.curves import CurveTable, curve_tables
from fsbench.results.studies.sweep.objects import object_tables
from fsbench.runner.evaluation.result import measure_for

KIND = "comparison"
"""Word for a folder of `--out`, which is known by its JSON."""


def by_number(options: argparse.Namespace) -> int:
    """Print scores, time and memory by a number such as shots, which `options.by` names; return the exit status."""
    axes = [name for name in AXES if name in options.by]
    return _show(options, CURVES, lambda records: curve_tables(records, axes))


def by_objects(options: argparse.Namespace) -> int:
    """Print scores by the number of objects in the query, counted in the data of the runs; return the exit status."""

    def tables(records: Sequence[Record]) -> list[CurveTable]:
        # the data sets: seconds, which other numbers do without
        from fsbench.pages.explain.query_objects import query_objects

        return object_tables(records, query_objects)

    return _show(options, CURVES, tables)


def by_annotation(options: argparse.Namespace) -> int:
    """Print how much scores drop with weaker annotations of supports than masks; return the exit status."""
    metrics = () if options.metrics is None else metric_names(options.metrics)
    asked = Request(tuple(metrics), measure=measure_for(metrics))
    return _show(options, ANNOTATIONS, lambda records: annotation_tables(records, asked))


def by_draw(options: argparse.Namespace) -> int:
    """Print the scores by draw of a test, and what the choice of supports does; return the exit status."""
    if options.no_properties and options.similarity:
        raise SettingsError("--similarity is a property, and --no-properties leaves all out; expected one of them")
    measure = None if options.no_properties else _measure(options.similarity)
    return _show(options, SUPPORTS, lambda records: sensitivity_tables(records, measure))


def _show(options: argparse.Namespace, analysis: Analysis[T], tables: Callable[[Sequence[Record]], Sequence[T]]) -> int:
    """Read runs and show what follows from them, as the options ask.

    Args:
        options: the options of the command: `runs`, which are its folders, `format`, and those of `add_file_options`.
        analysis: how tables are shown.
        tables: makes them of the runs.

    Returns:
        The exit status.
    """
    mark = f"{analysis.name}.json"
    check_plot_file(options.plot)
    if options.out is not None:
        check_free(options.out, mark, KIND)
    records, refused = finished_records(options.runs)
    found = leave_out_damaged(records, refused, tables)
    if options.plot is not None:
        analysis.save_figure(options.plot, found, options.caption)
    width, wrap = text_width()
    if options.out is not None:
        with replacing_folder(options.out, mark, KIND) as new:
            for ending, form in (("txt", "text"), ("csv", "csv"), ("json", "json")):
                write_text(new / f"{analysis.name}.{ending}", analysis.write(found, form, width, wrap=True))
    print_block(analysis.write(found, options.format, width, wrap))
    return say_left_out(refused)


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
