"""`fsbench compare`: paired differences of methods that saw the same episodes, or of runs and accepted ones."""

import argparse
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from fsbench.base.errors import SettingsError, say_left_out
from fsbench.base.terminal import print_block, text_width
from fsbench.cli.accepted import add_accepted_options, compare_with_accepted
from fsbench.cli.options import add_format, add_metrics, add_rank_all, add_runs, check_plot_file
from fsbench.cli.parser import given_options
from fsbench.results.atlas.atlas import shipped_atlas
from fsbench.results.atlas.which import Nearest
from fsbench.results.comparison.layout import plot, to_json, to_sheet
from fsbench.results.published.at_hand import is_in_atlas, near_runs, stands_alone
from fsbench.results.sheets.data import as_json
from fsbench.results.sheets.formats import write_sheets
from fsbench.results.table import Sheet
from fsbench.runner.config.limits import whole
from fsbench.runs import COMPARED_BY, Runs

FORMATS = ("text", "markdown", "latex", "json")


def add_options(parser: argparse.ArgumentParser) -> None:
    add_runs(parser)
    add_metrics(parser)
    parser.add_argument(
        "--by",
        action="append",
        choices=COMPARED_BY,
        default=[],
        help="compare each part of this kind as well; may be repeated",
    )
    parser.add_argument(
        "--fold", type=whole(0), action="append", default=[], help="use only this fold; may be repeated"
    )
    parser.add_argument("--baseline", metavar="METHOD", help="compare every other method with this one only")
    parser.add_argument(
        "--effect",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="with --all: say how large a test must be to find a difference of this many points (default: 1)",
    )
    parser.add_argument(
        "--margin", type=float, metavar="POINTS", help="say which methods are equivalent within this many points"
    )
    add_rank_all(parser)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="critical-difference diagram: .png, .svg or .pdf")
    parser.add_argument(
        "--all",
        action="store_true",
        help="show all pairs, p before the correction, the size of test that a difference needs, and all notes",
    )
    parser.add_argument(
        "--published",
        action="store_true",
        help="also show published figures of the same test, and say why other figures cannot be compared",
    )
    add_format(parser, FORMATS)
    accepted_options = add_accepted_options(parser)
    parser.set_defaults(function=partial(_compare, parser, accepted_options))


def _compare(
    parser: argparse.ArgumentParser, accepted_options: Collection[str], options: argparse.Namespace, extra: list[str]
) -> int:
    """Compare methods with each other; with --accepted, `accepted_options` say how runs meet accepted ones."""
    given = given_options(parser, options)
    mixed = [name for key, name in given.items() if (key in accepted_options) != (options.accepted is not None)]
    if mixed and options.accepted is None:
        raise SettingsError(
            f"{', '.join(mixed)} was given without --accepted; expected --accepted FOLDER as well, or none of "
            "these options"
        )
    if mixed:
        raise SettingsError(
            f"{', '.join(mixed)} and --accepted were both given; runs meet accepted ones on all folds, by the usual "
            "scores of their protocol; leave one of the two out"
        )
    return _compare_methods(options) if options.accepted is None else compare_with_accepted(options)


def _compare_methods(options: argparse.Namespace) -> int:
    """Print the paired differences of all methods that saw the same episodes."""
    check_plot_file(options.plot)
    runs = Runs(options.runs)
    near: list[Nearest] = []
    if options.published:
        near = near_runs([record for record in runs.records if is_in_atlas(record)], shipped_atlas())
        if stands_alone(runs.records):  # there is nothing else to compare with
            near = near or near_runs(runs.records, shipped_atlas())
            return _print(options.format, [each.sheet() for each in near], [each.as_data() for each in near], runs)
    comparisons = runs.compare(
        metrics=options.metrics,
        by=options.by,
        folds=options.fold,
        baseline=options.baseline,
        rank_all=options.rank_all,
        effect=options.effect,
        margin=options.margin,
    ).comparisons
    if options.plot is not None:
        plot(options.plot, comparisons)
    sheets = [to_sheet(comparison, options.all, options.all) for comparison in comparisons]
    data = [*map(to_json, comparisons), *(each.as_data(1) for each in near)]
    return _print(options.format, [*sheets, *(each.sheet(1) for each in near)], data, runs)


def _print(form: str, sheets: Sequence[Sheet], data: Sequence[object], runs: Runs) -> int:
    print_block(as_json(data) if form == "json" else write_sheets(form, sheets, *text_width()))
    return say_left_out(runs.left_out)
