"""`fsbench table`: the table of finished runs."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from fsbench.base.errors import say_left_out
from fsbench.base.terminal import print_block, print_line, text_width
from fsbench.cli.options import add_runs
from fsbench.cli.parser import add_table_options
from fsbench.doors.runs import load_runs
from fsbench.records.record import Record
from fsbench.results.tables.blocks import Block

FILES = ("run.json", "episodes.parquet", "predictions.parquet", "predictions.png", "run.log")


def add_options(parser: argparse.ArgumentParser) -> None:
    add_runs(parser)
    add_table_options(parser)
    parser.set_defaults(function=_table)


def _table(options: argparse.Namespace, extra: list[str]) -> int:
    return say_left_out(print_table(options.runs, options))


def print_table(folders: Sequence[Path], options: argparse.Namespace) -> list[str]:
    """Print the table of the runs in `folders`; returns messages about damaged runs, which are left out."""
    runs = load_runs(*folders)
    by = ["all"] if options.all else [*options.by, *(["class"] if options.by_class else [])]
    table = runs.table(
        options.metrics,
        by,
        published=options.published,
        trivial=not options.no_trivial,
        rank_all=options.rank_all,
        complete=options.format in ("csv", "json"),
    )
    print_block(table.write(options.format, *text_width()))
    if options.format == "text":
        for record in runs.records if options.all else []:
            print_line(f"{record.path}: {', '.join(name for name in FILES if (record.path / name).is_file())}")
        print_line(f"next: {' | '.join(_next_commands(folders, runs.records, table.blocks))}")
    return runs.left_out


def _next_commands(folders: Sequence[Path], records: Sequence[Record], blocks: Sequence[Block]) -> list[str]:
    """Name what to look at next: pictures or tests, breakdowns and pages, with folders that hold these runs alone."""
    parents = list(dict.fromkeys(record.path.parent for record in records))
    alone = len(folders) > 1 and len(parents) == 1 and len(list(parents[0].glob("*/run.json"))) == len(records)
    if len(folders) > 2 and not alone:
        return [f"fsbench report {shlex.join(map(str, parents))}"]
    shown = shlex.join(map(str, parents if alone else dict.fromkeys(folders)))
    by_fold: dict[str, set[str]] = {}
    for row in blocks[0].rows:
        if row.run:
            by_fold.setdefault(row.method, set()).add(row.fold)
    folds = list(by_fold.values())
    if len(blocks) == 1 and len(folds) > 1 and all(of_method == folds[0] for of_method in folds):
        first = f"fsbench compare {shown}"
    else:
        first = f"fsbench table {shown} --all"
    picture = records[0].path / "predictions.png"
    pictures = [str(picture)] if len(records) == 1 and picture.is_file() else []
    return [*pictures, first, f"fsbench report {shown}"]
