"""`fsbench why`: what parts a claimed figure and one's own."""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fsbench.base.errors import SettingsError, near_path, say_left_out
from fsbench.base.terminal import print_block, text_width
from fsbench.cli.options import add_data_options, given_lists
from fsbench.cli.score import answered_test
from fsbench.doors.score import score
from fsbench.doors.why import why
from fsbench.protocols.test import Test
from fsbench.records.record import Record, finished_records
from fsbench.results.tables.formats import SHEETS, text
from fsbench.results.why.layout import to_sheet

FORMATS = ("text", "markdown", "latex", "json")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--claimed", metavar="FIGURE", help="in percent, with the digits that are printed, as 57.6")
    parser.add_argument(
        "--claimed-folds", metavar="FOLD=FIGURE,...", help="claimed figures of folds, as 0=57.1,1=61.2; they sharpen it"
    )
    parser.add_argument(
        "--row", metavar="ENTRY", help="of the atlas that claims it, as hmnet/pascal-5i/resnet-50, with its conditions"
    )
    parser.add_argument(
        "--mine", nargs="+", type=Path, required=True, metavar="RUN|ANSWERS",
        help="a run, or one of each fold; or answers as fsbench score takes them",
    )  # fmt: skip
    parser.add_argument(
        "--runs", nargs="+", type=Path, default=[], help="where runs are looked for that differ in one thing"
    )
    parser.add_argument("--kit", type=Path, help="folder of the kit that is answered")
    parser.add_argument("--manifest", type=Path, help="file of the episodes that are answered, in place of a kit")
    parser.add_argument("--dataset", help="in place of the one that the kit or the manifest names")
    add_data_options(parser)
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="short for --format json")
    parser.set_defaults(function=_why, key=None)


def _why(options: argparse.Namespace, extra: list[str]) -> int:
    if options.claimed is None and options.claimed_folds is None and options.row is None:
        raise SettingsError("no figure is claimed; expected --claimed, --claimed-folds or --row")
    folds = _folds(options.claimed_folds)
    with _records(options) as (records, test, refused):
        others = finished_records(options.runs)[0] if options.runs else []
        found = why(
            records, options.claimed, folds=folds, row=options.row, others=others,
            root=options.data_root, lists=given_lists(options), test=test,
        )  # fmt: skip
    if options.format == "json":
        print_block(json.dumps(found.as_values(), indent=2, ensure_ascii=False))
        return say_left_out(refused)
    width, _ = text_width()
    sheet = to_sheet(found.why)
    print_block(text([sheet], width) if options.format == "text" else SHEETS[options.format]([sheet]))
    return say_left_out(refused)


@contextmanager
def _records(options: argparse.Namespace) -> Iterator[tuple[Sequence[Record], Test | None, list[str]]]:
    """Yield the runs that --mine names; answers are counted into a folder that goes when the block ends."""
    for path in options.mine:
        if not path.exists():
            raise SettingsError(f"--mine is {path}, which is not there; expected a run or answers{near_path(path)}")
    are_runs = [path.is_dir() and next(path.rglob("run.json"), None) is not None for path in options.mine]
    if any(are_runs) and not all(are_runs):
        raise SettingsError("--mine names runs and answers; expected one kind")
    if all(are_runs):
        if options.kit is not None or options.manifest is not None:
            raise SettingsError(
                "--kit and --manifest are of answers, and --mine is a run, which has its own; leave them out"
            )
        records, refused = finished_records(options.mine)
        yield records, None, refused
        return
    test = answered_test(options)
    with tempfile.TemporaryDirectory(prefix="fsbench-why-") as folder:
        yield [score(options.mine, test, name="mine", runs=folder).record], test, []


def _folds(words: str | None) -> dict[int, str] | None:
    """Parse --claimed-folds."""
    if words is None:
        return None
    found: dict[int, str] = {}
    for word in words.split(","):
        number, is_pair, figure = word.strip().partition("=")
        if not is_pair or not (number.isascii() and number.isdecimal()) or len(number) > 3:
            raise SettingsError(f"--claimed-folds has '{word.strip()}', expected FOLD=FIGURE, such as 0=57.1")
        if int(number) in found:
            raise SettingsError(f"--claimed-folds has fold {int(number)} twice, expected it once")
        found[int(number)] = figure
    return found
