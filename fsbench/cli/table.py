"""`fsbench table`: the table of finished runs."""

import argparse
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fsbench.cli.parser import add_table_options
from fsbench.errors import RecordError, SettingsError, say_left_out
from fsbench.protocols.registry import metric_named, metric_names
from fsbench.records.record import Record, find_distinct_records, leave_out_damaged
from fsbench.tables.blocks import Block
from fsbench.tables.compare import Measure
from fsbench.tables.formats import render
from fsbench.tables.published.scores import PublishedScore
from fsbench.tables.rescoring.recount import Truth
from fsbench.tables.table import build_blocks
from fsbench.terminal import print_block, print_line, text_width
from fsbench.weights.table import backbone_data

FILES = ("run.json", "episodes.parquet", "predictions.parquet", "predictions.png", "run.log")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    add_table_options(parser)
    parser.set_defaults(function=_table)


def _table(options: argparse.Namespace, extra: list[str]) -> int:
    return say_left_out(print_table(options.runs, options))


def print_table(folders: Sequence[Path], options: argparse.Namespace) -> list[str]:
    """Print the table of the runs in `folders`; returns messages about damaged runs, which are left out."""
    metrics = None if options.metrics is None else metric_names(options.metrics)
    records, refused = finished_records(folders)
    protocols = {record.protocol.task: record.protocol for record in records}
    if len(protocols) == 1:  # what one of several lacks is left out of its tables
        (protocol,) = protocols.values()
        protocol.check_breakdowns(options.by)
        if metrics is not None:
            protocol.check_metrics(metrics, options.metrics)
    by = ["all"] if options.all else options.by
    by_class = options.by_class or options.all or "class" in options.by
    by_size = options.all or "size" in by or options.format in ("csv", "json")
    published: Sequence[PublishedScore] = ()
    if options.published:
        from fsbench.papers.published import published_scores  # with the configuration of every run

        published = published_scores()
    asked: dict[str, Any] = {"by_class": by_class, "by_size": by_size}
    asked |= {"trivial": not options.no_trivial, "metrics": metrics}
    if options.all or "card" in by or options.format in ("csv", "json"):
        asked["backbone_data"] = backbone_data()
    asked |= {"measure": measure_for(metrics or ()), "rank_all": options.rank_all}
    blocks = leave_out_damaged(records, refused, lambda sound: build_blocks(sound, published=published, **asked))
    print_block(render(blocks, options.format, by, *text_width()))
    if options.format == "text":
        for record in records if options.all else []:
            print_line(f"{record.path}: {', '.join(name for name in FILES if (record.path / name).is_file())}")
        print_line(f"next: {' | '.join(_next_commands(folders, records, blocks))}")
    return refused


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


def finished_records(folders: Sequence[Path]) -> tuple[list[Record], list[str]]:
    """Find the finished runs in `folders`, and messages about those that are damaged."""
    refused: list[str] = []
    records = find_distinct_records(folders, refused)
    if not records:
        none = f"no finished run in {', '.join(map(str, folders))}; make one with: make bench"
        raise RecordError(*refused) if refused else SettingsError(none)
    return records, refused


def measure_for(metrics: Sequence[str]) -> Measure | None:
    """Return what measures a run for those of `metrics` that its counts do not give; None where all follow from them.

    It can be sent to another process.
    """
    if not any(metric_named(name).is_measured for name in metrics):
        return None
    from fsbench.tables.rescoring.measures import measure  # with OpenCV and torch, which other scores spare

    return partial(measure, metrics=metrics, open_truth=_open_truth)


def _open_truth(record: Record) -> Truth:
    # torch and Lightning: only who asks for scores beyond the counts waits for them
    from fsbench.engine.stored_data import Truths

    return Truths(record)
