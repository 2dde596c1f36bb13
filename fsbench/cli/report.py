"""`fsbench report`: pages of finished runs, or a leaderboard of bundles."""

import argparse
import sys
from functools import partial
from pathlib import Path

from fsbench.base.errors import SettingsError, say_left_out
from fsbench.base.terminal import print_error, print_line
from fsbench.cli.options import add_metrics, add_rank_all
from fsbench.cli.parser import given_options
from fsbench.runner.config.limits import whole
from fsbench.runs import Runs

SHARED_OPTIONS = ("out", "rank_all")
"""Options that a report of runs and a leaderboard share."""
BOARD_OPTIONS = ("board", "new", "strict")
"""Options of a leaderboard alone."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", type=Path, help="folders of runs; with --board, the folder of the bundles")
    parser.add_argument(
        "--out", type=Path, help="folder of the pages (report, or site with --board); earlier pages are replaced"
    )
    add_metrics(parser)
    parser.add_argument(
        "--gallery",
        type=whole(0, 10000),
        default=0,
        metavar="N",
        help="predict N episodes of each pair of methods again, for masks of runs that kept none (default: 0)",
    )
    parser.add_argument(
        "--no-photos", action="store_true", help="leave out the images, so that the pages can be published"
    )
    parser.add_argument("--photo-side", type=whole(32, 4096), default=320, metavar="PX", help="longer side of an image")
    parser.add_argument(
        "--photo-budget",
        type=whole(1, 10**6),
        default=64,
        metavar="MIB",
        help="largest total size of the images of one table, in MiB",
    )
    parser.add_argument(
        "--compare", type=whole(2, 10000), metavar="N", help="show the best N methods in the matrix (default: about 20)"
    )
    add_rank_all(parser)
    parser.add_argument("--method", metavar="M[,M]", help="show only these methods (default: all that have runs)")
    group = parser.add_argument_group("a leaderboard")
    group.add_argument(
        "--board", action="store_true", help="make a leaderboard of the bundles in a folder (files that end in .fsb)"
    )
    group.add_argument("--strict", action="store_true", help="end with exit status 1 if a bundle is refused")
    group.add_argument("--new", type=Path, metavar="FOLDER", help="only write a new repository that collects bundles")
    parser.set_defaults(function=partial(_report, parser))


def _report(parser: argparse.ArgumentParser, options: argparse.Namespace, extra: list[str]) -> int:
    given = given_options(parser, options)
    if options.board:
        mixed = [name for key, name in given.items() if key not in (*BOARD_OPTIONS, *SHARED_OPTIONS)]
        if mixed:
            raise SettingsError(f"{', '.join(mixed)} and --board were both given; a leaderboard has no such option")
        return _board(options)
    if mixed := [name for key, name in given.items() if key in BOARD_OPTIONS]:
        raise SettingsError(f"{', '.join(mixed)} without --board; expected: fsbench report --board BUNDLES")
    if not options.runs:
        raise SettingsError("no folder of runs was given; expected: fsbench report RUNS --out report")
    runs = Runs(options.runs)
    page = runs.report(
        options.out or Path("report"),
        metrics=options.metrics,
        methods=options.method or (),
        gallery=options.gallery,
        photos=not options.no_photos,
        photo_side=options.photo_side,
        photo_budget=options.photo_budget,
        most=options.compare,
        rank_all=options.rank_all,
        say=lambda line: print_line(line, sys.stderr),
    )
    print_line(f"{page}")
    return say_left_out(runs.left_out)


def _board(options: argparse.Namespace) -> int:
    """Write the pages of a leaderboard, or with --new the repository that bundles are handed in to."""
    if len(options.runs) != (options.new is None):
        raise SettingsError(
            "--board takes one folder of bundles, or --new FOLDER; expected: fsbench report --board BUNDLES --out site"
        )
    # spared by a report of runs
    from fsbench.pages.board.repository import write_repository
    from fsbench.pages.board.site import write_board

    if options.new is not None:
        for file in write_repository(options.new):
            print_line(f"{options.new / file}")
        return 0
    (bundles,), out = options.runs, options.out or Path("site")
    summary = write_board(bundles, out, lambda line: print_line(line, sys.stderr), options.rank_all)
    for line in summary.lines:
        print_line(line, sys.stderr)
    found = summary.collection
    if not found.bundles and not found.refused:
        print_line(f"no bundle in {bundles} yet; expected files that end in .fsb", sys.stderr)
    print_line(f"{out / 'index.html'}: {_count(summary.rows, 'row')} of {_count(len(found.bundles), 'bundle')}")
    if found.refused:
        print_error(f"{len(found.refused)} of the bundles were refused; see {out / 'bundles.html'}")
    return int(options.strict and bool(found.refused))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
