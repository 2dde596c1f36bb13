"""`fsbench table --protocol` and its kin: finished runs by another protocol's metric, or by another rule."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from fsbench.base.errors import RecordError, SettingsError, missing_package, say_left_out
from fsbench.base.terminal import print_block, text_width
from fsbench.cli.options import given_root
from fsbench.protocols.reading import load_segmentation
from fsbench.protocols.view import View
from fsbench.records.record import Record, finished_records, leave_out_damaged
from fsbench.results.atlas.atlas import shipped_atlas
from fsbench.results.measuring.recount import LARGEST_SIDE, ORIGINAL, Truth, read_truth, recount, stored_predictions
from fsbench.results.rules.claimed import Claimed, claimed, is_score
from fsbench.results.rules.claimed import to_sheet as claimed_sheet
from fsbench.results.rules.rescore import Choices, Rescored, rescore, to_sheet
from fsbench.results.sheets.formats import write_results
from fsbench.results.table import Sheet
from fsbench.runner.config.tests import open_manifest
from fsbench.runner.engine.stored_data import open_truth

Item = TypeVar("Item", Rescored, Claimed)


def add_rule_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name another protocol or counting rule by which runs are scored again."""
    rules = parser.add_argument_group("other rules, on the same episodes and predictions; nothing is written")
    rules.add_argument("--protocol", help="score by this protocol's metric, too (see: fsbench list)")
    rules.add_argument(
        "--void", choices=("ignore", "background"), help="ignore void pixels, or count them as background"
    )
    rules.add_argument(
        "--resolution", metavar="original|S",
        help="count the stored predictions again at this size: the query's own, or S x S pixels",
    )  # fmt: skip
    rules.add_argument(
        "--objects", metavar="LOW-HIGH", help="count only objects that cover this percentage of the query, e.g. 0-5"
    )
    rules.add_argument(
        "--claimed",
        metavar="SCORE|ROW",
        help="show which single change of the test's rules gives a claimed score: a number such as 57.6, or the id of "
        "a row of the atlas",
    )
    rules.add_argument("--data-root", help="folder of the data set on this machine; --resolution and --claimed need it")


def show_rescored(options: argparse.Namespace) -> int:
    """Print scores of runs under other counting rules beside their own scores; return the exit status."""
    if options.claimed is not None:
        return _show_claimed(options)
    choices = Choices(options.void, _resolution(options.resolution), _sizes(options.objects))
    target = None if options.protocol is None else load_segmentation(options.protocol)
    records, refused = finished_records(options.runs)
    groups = leave_out_damaged(
        records, refused, lambda sound: rescore(sound, target, choices, partial(_recounted, given_root(options)))
    )
    _print(options.format, groups, to_sheet)
    return say_left_out(refused)


def _show_claimed(options: argparse.Namespace) -> int:
    """Print runs by several rules beside a claimed score; returns the exit status."""
    entries = {} if is_score(options.claimed) else {entry.id: entry for entry in shipped_atlas().entries}
    records, refused = finished_records(options.runs)
    recount = partial(_recounted, given_root(options))
    items = leave_out_damaged(records, refused, lambda sound: claimed(sound, options.claimed, entries, recount))
    _print(options.format, items, claimed_sheet)
    return say_left_out(refused)


def _print(form: str, items: Sequence[Item], to_sheet: Callable[[Item], Sheet]) -> None:
    """Print the runs of each test in a format: as CSV and JSON all rows, else as tables."""
    rows = (row for item in items for row in item.rows)
    data = [item.as_data() for item in items]
    print_block(write_results(form, [to_sheet(item) for item in items], rows, data, *text_width()))


def _recounted(root: str | None, record: Record, resolution: int, view: View | None = None) -> Any:
    """Count a run's stored predictions again at another resolution."""
    stored_predictions(record)  # whose absence is said first
    return recount(record, _open_truth(record, root), resolution, view)


def _open_truth(record: Record, root: str | None) -> Truth:
    """Open the truth of a run's episodes, without torch unless the run's data set is none of the suite's.

    Raises FsbenchError where the data are not there, or not those of the run.
    """
    if (record.path / "config.yaml").is_file():
        try:
            return open_truth(record, {} if root is None else {"data.dataset.root": root})
        except ModuleNotFoundError as error:
            if not missing_package(error):
                raise
    test = open_manifest(record.path / "manifest.jsonl", root=root)
    if test.files_sha256 != record.run.identity.files_sha256:
        raise RecordError(
            f"the data here are not the data that {record.path.name} was tested on: images or label maps differ; "
            "put the files of the run back, or name their folder (--data-root)"
        )
    return read_truth(record, test.data)


def _resolution(text: str | None) -> int | None:
    """Parse --resolution: `ORIGINAL`, or the side of a square."""
    if text is None or text == "original":
        return None if text is None else ORIGINAL
    if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= LARGEST_SIDE:
        return int(text[:9])
    raise SettingsError(f"--resolution is '{text}', expected original or a side from 1 to {LARGEST_SIDE} pixels")


def _sizes(text: str | None) -> tuple[float, float] | None:
    """Parse --objects: shares from 0 to 1."""
    if text is None:
        return None
    low, _, high = text.partition("-")
    try:
        ends = float(low) / 100, float(high) / 100
    except ValueError:
        ends = 1.0, 0.0
    if not 0 <= ends[0] < ends[1] <= 1:
        raise SettingsError(f"--objects is '{text}', expected two percentages, the lower one first, e.g. 0-5")
    return ends
