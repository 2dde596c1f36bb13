"""Write a leaderboard's folder: beside its place first, then moved there whole, never over anything but one."""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.base.files import write_text
from fsbench.base.files.folders import check_free, replacing_folder
from fsbench.base.version import __version__
from fsbench.pages.board.collect import Collection, collect
from fsbench.pages.board.pages import write_pages
from fsbench.pages.board.ranking import rank_rows
from fsbench.pages.board.rows import build_rows

MARK = "fsbench-board.json"
"""File by which a folder is known to be a leaderboard."""


@dataclass(frozen=True)
class BoardSummary:
    """Numbers of rows and bundles of a written leaderboard, and sentences about repeated runs."""

    rows: int
    collection: Collection
    lines: list[str]


def write_board(bundles: Path, out: Path, report: Callable[[str], None], rank_all: bool = False) -> BoardSummary:
    """Write a leaderboard of all bundles of runs below a folder as HTML pages; equal bundles give equal pages.

    Args:
        bundles: folder of bundles.
        out: folder of the pages.
        report: called with lines of text about progress.
        rank_all: whether rows are ranked together whatever their training conditions.

    Raises:
        SettingsError: the folder of bundles does not exist, or `out` holds other files.
    """
    place = Path(os.path.realpath(out))  # a symbolic link stays; its target is replaced
    check_free(place, MARK, "board")
    if Path(os.path.realpath(bundles)).is_relative_to(place):
        raise SettingsError(f"--out {out} holds the bundles; expected a folder of its own, such as site")
    with replacing_folder(place, MARK, "board") as folder, ExitStack() as unpacked:
        collection = collect(bundles, folder, report, place, unpacked)
        rows, tests, lines = build_rows(collection.bundles)
        write_pages(folder, rows, tests, collection, lines, rank_rows(rows, tests, rank_all))
        log = [f"shown: {bundle.name} sha256 {bundle.sha256}" for bundle in collection.bundles]
        log += [f"refused: {name}: {reason}" for name, reason in collection.refused.items()]
        log += [f"twice: {name} is the same file as {other}" for name, other in sorted(collection.twice.items())]
        log += [f"twice: {line}" for line in lines]
        write_text(folder / "board.log", "".join(f"{line}\n" for line in log))
        write_text(folder / MARK, json.dumps({"made by": f"fsbench {__version__}", "rows": len(rows)}) + "\n")
    return BoardSummary(len(rows), collection, lines)
