"""`fsbench atlas`: published figures: check rows, write the page, explain words, compare two, find the nearest."""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from fsbench.base.errors import SettingsError, known_names, say_left_out
from fsbench.base.terminal import print_block, print_line, text_width
from fsbench.cli.options import add_format, add_runs_folder
from fsbench.protocols.conditions import CONDITIONS, UNKNOWN
from fsbench.protocols.programs import FOLDER
from fsbench.protocols.published_tests import meanings
from fsbench.results.atlas.atlas import read_atlas, shipped_atlas
from fsbench.results.atlas.check import odd_means, summary
from fsbench.results.atlas.pairs import Comparisons
from fsbench.results.sheets.data import as_json
from fsbench.results.sheets.formats import write_sheets
from fsbench.runner.config.limits import check_output_file

FORMATS = ("text", "markdown", "latex", "json")


def add_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser("check", help="check every row against the schema and its evidence")
    check.set_defaults(function=_check)
    page = actions.add_parser("page", help="write the page, a file to open in a browser")
    page.add_argument("--out", type=Path, default=Path("atlas.html"), help="file to write")
    page.set_defaults(function=_page)
    words = actions.add_parser("words", help="explain the words that describe the conditions of a test")
    words.add_argument("condition", nargs="?", help="a column such as episode_draw (default: every column)")
    words.set_defaults(function=_words)
    pair = actions.add_parser(
        "compare", help="say whether figures of two methods can be compared, and if not, what differs"
    )
    pair.add_argument("one", metavar="A", help="a method (BAM), or a method on a data set (bam/pascal-5i)")
    pair.add_argument("other", metavar="B", nargs="?", help="the other method, named like A")
    add_runs_folder(pair)
    pair.set_defaults(function=_compare)
    which = actions.add_parser("which", help="name the nearest published tests, and what differs from each")
    which.add_argument(
        "what", type=Path, metavar="RUN|KIT|FILE.yaml", help="a run, a kit, or a protocol by its file or name"
    )
    add_format(which, FORMATS)
    which.set_defaults(function=_which)
    for each in (check, page):
        each.add_argument(
            "folder", nargs="?", type=Path, default=FOLDER, help="folder of the atlas (default: the one in fsbench)"
        )


def _check(options: argparse.Namespace, extra: list[str]) -> int:
    atlas = read_atlas(options.folder)
    for line in [*summary(atlas), *odd_means(atlas)]:
        print_line(line)
    print_line("every row fits the schema")
    return 0


def _words(options: argparse.Namespace, extra: list[str]) -> int:
    closed = {key: one for key, one in CONDITIONS.items() if one.values}
    if options.condition is not None and options.condition not in closed:
        known = known_names(options.condition, closed)
        raise SettingsError(f"'{options.condition}' has no closed list of words{known}")
    for key, one in closed.items():
        if options.condition in (None, key):
            print_line(f"{key} ({one.label})")
            for word, means in meanings(one).items():
                print_line(f"  {word}: {means}".replace("{}", "<N>").replace("{0}", "<N>"))
    for word, means in UNKNOWN.items():
        print_line(f"any condition  {word}: {means}")
    return 0


def _page(options: argparse.Namespace, extra: list[str]) -> int:
    from fsbench.pages.report.atlas.page import write_atlas_page  # with Jinja

    check_output_file(options.out, "--out")
    if options.out.suffix not in (".html", ".htm"):
        raise SettingsError(f"--out is {options.out}, expected a name that ends in .html")
    print_line(str(write_atlas_page(read_atlas(options.folder), options.out)))
    return 0


def _compare(options: argparse.Namespace, extra: list[str]) -> int:
    # spared until it is needed
    from fsbench.records.record import find_distinct_records, leave_out_damaged
    from fsbench.results.published.at_hand import entries_at_hand
    from fsbench.results.published.conditions import PROGRAMS
    from fsbench.results.tables.pair_text import pair_text
    from fsbench.runner.config.registry import aliases, names

    refused: list[str] = []
    records = find_distinct_records([options.runs], refused) if options.runs.is_dir() else []
    known = shipped_atlas()
    own = leave_out_damaged(records, refused, lambda sound: entries_at_hand(sound, known.programs)) if records else []
    atlas = replace(known, entries=[*known.entries, *own])
    pair = Comparisons(atlas).pair(options.one, options.other)
    methods = {
        program: {choice.backbone or "": alias for alias, choice in aliases().items() if choice.method == name}
        | {"": name}
        for name in names("methods")
        if (program := PROGRAMS.get(name.replace("_", "")))
    }
    print_block(pair_text(atlas, pair, methods, shutil.get_terminal_size((120, 24)).columns))
    return say_left_out(refused)


def _which(options: argparse.Namespace, extra: list[str]) -> int:
    from fsbench.results.published.at_hand import nearest_to  # spared until it is needed

    found = nearest_to(options.what, shipped_atlas())
    if options.format == "json":
        print_block(as_json([each.as_data() for each in found]))
        return 0
    print_block(write_sheets(options.format, [each.sheet() for each in found], *text_width()))
    return 0
