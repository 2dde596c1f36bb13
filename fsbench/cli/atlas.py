"""`fsbench atlas`: the atlas of published figures: check its rows, write its page, or explain its words."""

import argparse
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.base.terminal import print_line
from fsbench.protocols.programs import FOLDER
from fsbench.results.atlas.atlas import read_atlas
from fsbench.results.atlas.check import odd_means, summary
from fsbench.results.atlas.vocabulary import listed_words
from fsbench.runner.config.limits import check_output_file


def add_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser("check", help="check every row against the schema and its evidence")
    check.set_defaults(function=_check)
    page = actions.add_parser("page", help="write the page, a file to open in a browser")
    page.add_argument("--out", type=Path, default=Path("atlas.html"), help="file of the page")
    page.set_defaults(function=_page)
    words = actions.add_parser("words", help="what the closed words of the conditions mean")
    words.add_argument("condition", nargs="?", help="a column such as episode_draw; all of them")
    words.set_defaults(function=_words)
    for each in (check, page):
        each.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="folder of the atlas; that of the suite")


def _check(options: argparse.Namespace, extra: list[str]) -> int:
    atlas = read_atlas(options.folder)
    for line in [*summary(atlas), *odd_means(atlas)]:
        print_line(line)
    print_line("every row fits the schema")
    return 0


def _words(options: argparse.Namespace, extra: list[str]) -> int:
    for line in listed_words(options.condition):
        print_line(line)
    return 0


def _page(options: argparse.Namespace, extra: list[str]) -> int:
    from fsbench.pages.report.atlas.page import write_atlas_page  # with Jinja

    check_output_file(options.out, "--out")
    if options.out.suffix not in (".html", ".htm"):
        raise SettingsError(f"--out is {options.out}, expected a name that ends in .html")
    print_line(str(write_atlas_page(read_atlas(options.folder), options.out)))
    return 0
