"""Measure what BAM's filter moves: a method is trained with and without the images that show a novel class."""

import argparse
from collections.abc import Sequence

from benchmarks.protocols.single_run import record_or_reason
from fsbench.records.record import Record
from fsbench.results.tables.formats import markdown
from fsbench.results.tables.layout import Sheet, ends
from fsbench.runner.grid.bench import Request
from fsbench.scores.estimate import Estimate, estimates

COLUMNS = ["method", "with the filter", "without it", "difference", "training pairs"]
MISSING = "-"


def compare_filters(methods: Sequence[Sequence[str]], options: argparse.Namespace) -> str:
    """Train methods with `FILTER=1` and `FILTER=0` and return their scores in Markdown.

    Args:
        methods: name, then arguments of its runs; nothing is compared of a checkpoint, which is trained already.
        options: of the command line.
    """
    rows, reasons = [COLUMNS], []
    for name, *own in methods:
        found = [_trained(name, own, choice, options) for choice in ("1", "0")]
        reasons += [f"{name}: {reason}" for reason in found if isinstance(reason, str)]
        rows.append(_row(name, *found))
    return markdown([Sheet("mIoU with and without training images that show a novel class", [("", rows)], reasons)])


def _trained(method: str, own: Sequence[str], choice: str, options: argparse.Namespace) -> Record | str:
    """Return the record of a training with `FILTER` = `choice`, or the reason why there is none."""
    if "=" in method:
        return "expected a name without a checkpoint, which is trained already"
    request = Request(
        methods=[method],
        dataset=options.dataset,
        folds=[options.fold],
        runs=options.runs,
        protocol=options.protocol,
        data_root=options.data_root,
        lists=options.lists,
        drop_small=True,
        filter=choice,
        extra=[*own, *options.extra],
    )
    record = record_or_reason(request)
    if not isinstance(record, str) and "base_classes_sha256" not in (record.run.identity.training or {}):
        return "is not trained, so that a filter of training images changes nothing"
    return record


def _row(name: str, filtered: Record | str, whole: Record | str) -> list[str]:
    """Return a row of the table; runs with the same training images are said to be the same."""
    scores = [MISSING if isinstance(record, str) else _score(record) for record in (filtered, whole)]
    if isinstance(filtered, str) or isinstance(whole, str):
        return [name, *scores, MISSING, MISSING]
    lists = [(record.run.identity.training or {})["base_classes_sha256"] for record in (filtered, whole)]
    same = "the same" if lists[0] == lists[1] else "others"
    return [name, *scores, f"{_interval(filtered).value - _interval(whole).value:+.1f}", same]


def _interval(record: Record) -> Estimate:
    return estimates([record.protocol.statistics(record.episodes, record.header)])["mIoU"]


def _score(record: Record) -> str:
    found = _interval(record)
    return f"{found.value:.1f} {ends(found, 1)}".rstrip()
