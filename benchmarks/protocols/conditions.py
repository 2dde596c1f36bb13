"""Scores of the same methods and weights under every protocol and setting; missing ones are named with the reason."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.protocols.single_run import record_or_reason
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.protocols.registry import protocol_names
from fsbench.records.record import Record
from fsbench.results.tables.formats import markdown
from fsbench.results.tables.layout import Sheet
from fsbench.runner.grid.bench import Request


@dataclass(frozen=True)
class Condition:
    """Protocol and setting of an evaluation."""

    protocol: str
    setting: str
    way: int
    shot: int

    def __str__(self) -> str:
        return f"{self.protocol}, {self.setting.replace('_', ' ')}, {self.way}-way {self.shot}-shot"


TWICE = ("hsnet", "pfenet", "incontext", "fss_sam3")
"""Protocols of any data set, tested with one support and with five."""
LEFT_OUT = ("fscs", "incontext518", "sansa", "fssdino", "fort", "presence")
"""Protocols that have rows of their own, differ from another in a size alone, need COCO's objects, classify, or
ask of absent classes."""

CONDITIONS = [
    *(Condition("fscs", "original", way, shot) for way in (1, 2) for shot in (1, 5)),
    *(Condition("fscs", setting, 2, 1) for setting in ("partially_augmented", "fully_augmented")),
    *(Condition("fscs", size, 1, 1) for size in SIZE_BINS),
    *(Condition("fscs", "0-15", way, shot) for way, shot in ((2, 1), (1, 5))),
    *(Condition(protocol, "original", 1, shot) for protocol in TWICE for shot in (1, 5)),
    *(Condition(protocol, "original", 1, 1) for protocol in protocol_names() if protocol not in TWICE + LEFT_OUT),
]
"""Conditions in the order of the table; the others are compared with the first one."""


def measure(methods: Sequence[Sequence[str]], options: argparse.Namespace) -> str:
    """Evaluate methods under every condition and return the table in Markdown.

    Args:
        methods: name, or name=checkpoint, then arguments of its runs.
        options: of the command line.
    """
    rows: list[tuple[Condition, list[Record | str]]] = []
    for condition in CONDITIONS:
        rows.append((condition, [_evaluate(condition, *method, options=options) for method in methods]))
    return _table([name.partition("=")[0] for name, *_ in methods], rows)


def _evaluate(condition: Condition, named: str, *own: str, options: argparse.Namespace) -> Record | str:
    """Return the record, or the reason why there is none."""
    method, _, checkpoint = named.partition("=")
    request = Request(
        methods=[method],
        dataset=options.dataset,
        folds=[options.fold],
        runs=options.runs,
        way=condition.way,
        shot=condition.shot,
        setting=condition.setting,
        protocol=condition.protocol,
        checkpoint=checkpoint or None,
        data_root=options.data_root,
        lists=options.lists,
        drop_small=True,
        extra=[*own, *options.extra],
    )
    return record_or_reason(request)


def _table(methods: list[str], rows: list[tuple[Condition, list[Record | str]]]) -> str:
    """Return the table in Markdown, followed by the reasons why conditions are missing."""
    head = ["condition", *(f"{name} {score}" for name in methods for score in ("mIoU (change)", "FB-IoU", "accuracy"))]
    lines = [head]
    reasons = []
    for condition, records in rows:
        cells = [str(condition)]
        for record, base in zip(records, rows[0][1], strict=True):
            if isinstance(record, str):
                reasons.append(f"{condition}: {record}")
                cells += ["-", "-", "-"]
                continue
            scores = record.run.scores
            cells += [
                f"{scores['mIoU']:.1f}{_change(record, base)}",
                *(f"{scores[n]:.1f}" for n in ("FB-IoU", "accuracy")),
            ]
        lines.append(cells)
    sheet = Sheet("Scores by protocol and setting", [("", lines)], list(dict.fromkeys(reasons)))
    return markdown([sheet])


def _change(record: Record, base: Record | str) -> str:
    """Return how far mIoU moved, or that it is over other classes (some have too few images for 5 shots)."""
    if isinstance(base, str) or record.run.id == base.run.id:
        return ""
    classes, base_classes = record.manifest.class_ids, base.manifest.class_ids
    if classes != base_classes:
        return f" ({len(classes)} instead of {len(base_classes)} classes)"
    return f" ({record.run.scores['mIoU'] - base.run.scores['mIoU']:+.1f})"
