"""`fsbench board`: a leaderboard of bundles, and a new repository that bundles are handed in to."""

import argparse
import sys
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.base.terminal import print_error, print_line
from fsbench.cli.parser import add_rank_all
from fsbench.pages.board.repository import write_repository
from fsbench.pages.board.site import write_board


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundles", nargs="?", type=Path, help="folder of bundles (files that end in .fsb)")
    parser.add_argument("--out", type=Path, default=Path("site"), help="folder of the pages; a board is replaced")
    parser.add_argument("--strict", action="store_true", help="exit status 1 where a bundle is refused")
    add_rank_all(parser)
    parser.add_argument("--new", type=Path, metavar="FOLDER", help="write a repository for bundles, and nothing else")
    parser.set_defaults(function=_board)


def _board(options: argparse.Namespace, extra: list[str]) -> int:
    if (options.bundles is None) == (options.new is None):
        raise SettingsError("board takes a folder of bundles or --new; expected: fsbench board BUNDLES --out site")
    if options.new is not None:
        for file in write_repository(options.new):
            print_line(f"{options.new / file}")
        return 0

    summary = write_board(options.bundles, options.out, lambda line: print_line(line, sys.stderr), options.rank_all)
    for line in summary.lines:
        print_line(line, sys.stderr)
    found = summary.collection
    if not found.bundles and not found.refused:
        print_line(f"no bundle in {options.bundles} yet; expected files that end in .fsb", sys.stderr)
    print_line(f"{options.out / 'index.html'}: {_count(summary.rows, 'row')} of {_count(len(found.bundles), 'bundle')}")
    if found.refused:
        print_error(f"{len(found.refused)} of the bundles were refused; see {options.out / 'bundles.html'}")
    return int(options.strict and bool(found.refused))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
