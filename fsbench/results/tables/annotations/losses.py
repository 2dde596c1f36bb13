"""Losses against masks of methods whose supports have weaker annotations: paired differences on the same episodes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import Any

from fsbench.base.errors import SettingsError
from fsbench.data.annotations import ANNOTATIONS
from fsbench.records.description import all_notes, title
from fsbench.records.grouping import comparable, fold_of, variants_of_groups
from fsbench.records.record import Record
from fsbench.results.tables.compare import Comparing, compare_methods
from fsbench.results.tables.layout import family_note, in_units, scope_notes
from fsbench.results.tables.rows import ResultRow
from fsbench.scores.decisions import adjust

MASK = "mask"
LEFT_OUT = "left out, other folds, weights or settings than with masks"
Runs = dict[int, Record]
"""A method's record of each fold."""


@dataclass(frozen=True)
class AnnotationLoss:
    """A method with one weak annotation of the supports.

    Attributes:
        method: its label.
        annotation: a key of `fsbench.data.annotations.ANNOTATIONS`.
        metric: name of the score.
        line: the score with the annotation minus that with masks; corrected over all losses that are printed together.
        runs: folders of the runs with the annotation, then of those with masks.
    """

    method: str
    annotation: str
    metric: str
    line: ResultRow
    runs: tuple[str, ...]

    @property
    def score(self) -> float:
        """The score with the annotation, in percent."""
        return self.line.scores[0]

    @property
    def mask_score(self) -> float:
        """The score with masks, in percent."""
        return self.line.scores[1]


@dataclass(frozen=True)
class AnnotationTable:
    """The methods of one test that have runs with masks and with weaker annotations.

    Attributes:
        title: what the runs have in common.
        metrics: names of the scores.
        losses: by metric, then by method, the best with masks first, then by annotation.
        notes: what a reader must know.
    """

    title: str
    metrics: tuple[str, ...]
    losses: list[AnnotationLoss]
    notes: list[str]

    @property
    def methods(self) -> list[str]:
        """Labels of the methods, in order."""
        return list(dict.fromkeys(loss.method for loss in self.losses))


def annotation_tables(records: Sequence[Record], metrics: Sequence[str] | None = None) -> list[AnnotationTable]:
    """Compare runs that differ in the annotation of their supports alone, a table for each test.

    Args:
        records: finished runs.
        metrics: names of scores; None for the first of the protocol's.

    Raises:
        SettingsError: no method has runs with masks and with another annotation.
    """
    tables = [_table(group, metrics) for group in comparable(records)]
    found = [table for table in tables if table.losses]
    if not found:
        raise SettingsError(
            "no method has runs with masks and with weaker annotations of the supports on the same episodes; expected "
            "the runs of a grid over them (fsbench grid annotations)"
        )
    return _corrected(found)


def _corrected(tables: Sequence[AnnotationTable]) -> list[AnnotationTable]:
    """Correct the p-values of all tables together, and say for how many losses a star holds."""
    every = [(loss, loss.metric == table.metrics[0]) for table in tables for loss in table.losses]
    found = adjust([loss.line.estimate.p for loss, _ in every], [first for _, first in every])
    comparisons = sum(not isnan(p) for p in found)
    corrected = iter(found)
    return [
        replace(
            table,
            losses=[replace(loss, line=replace(loss.line, corrected=next(corrected))) for loss in table.losses],
            notes=[*([family_note(comparisons)] if comparisons else []), *table.notes],
        )
        for table in tables
    ]


def has_losses(records: Sequence[Record]) -> bool:
    """Return whether `annotation_tables` finds something among the runs of one test."""
    return bool(_compared(records)[0])


def _methods(records: Sequence[Record]) -> dict[str, dict[str, Runs]]:
    """Return label -> annotation -> runs, in the order of `ANNOTATIONS`; labels do not name the annotation."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.run.identity.support_annotation, []).append(record)
    order = [name for name in ANNOTATIONS if name in groups]
    found: dict[str, dict[str, Runs]] = {}
    for name, labelled in zip(order, variants_of_groups([groups[name] for name in order]), strict=True):
        for label, members in labelled.items():
            found.setdefault(label, {})[name] = {fold_of(record): record for record in members}
    return found


def _table(records: Sequence[Record], metrics: Sequence[str] | None) -> AnnotationTable:
    wanted = tuple(metrics or records[0].protocol.default_metrics[:1])
    losses: list[AnnotationLoss] = []
    shown: list[Record] = []
    compared, left_out = _compared(records)
    for label, runs in compared.items():
        lines = compare_methods(runs, Comparing(wanted, baseline=MASK)).tables["all"]
        losses += [
            AnnotationLoss(label, name, metric, line, _folders(runs[name], runs[MASK]))
            for metric, of_metric in lines.items()
            for line in of_metric
            for name in (line.method,)
        ]
        shown += [record for of_annotation in runs.values() for record in of_annotation.values()]
    losses.sort(key=lambda loss: (wanted.index(loss.metric), -loss.mask_score))
    remarks = _explanations(losses, wanted) + [f"{LEFT_OUT}: {x}" for x in left_out]
    return AnnotationTable(title(records), wanted, losses, remarks + (all_notes(shown) if shown else []))


def _compared(records: Sequence[Record]) -> tuple[dict[str, dict[str, Runs]], list[str]]:
    """Return label -> annotation, masks first -> runs that can be compared; and which are left out."""
    compared: dict[str, dict[str, Runs]] = {}
    left_out: list[str] = []
    for label, of_method in _methods(records).items():
        if MASK in of_method:
            masks = of_method[MASK]
            alike = {name: runs for name, runs in of_method.items() if _same_but_annotation(runs, masks)}
            left_out += [f"{label} with {name}" for name in of_method if name not in alike]
            compared |= {label: alike} if len(alike) > 1 else {}
    return compared, left_out


def _same_but_annotation(weak: Runs, masks: Runs) -> bool:
    """Return whether runs of a method have the folds, the training and the settings of those with masks."""
    return weak.keys() == masks.keys() and all(_settings(weak[fold]) == _settings(masks[fold]) for fold in weak)


def _settings(record: Record) -> dict[str, Any]:
    """Return what may change a run's result beside the annotation and the episodes, which are the same."""
    others = {"support_annotation", "manifest_sha256", "files_sha256"}
    return record.run.identity.model_dump(exclude=others)


def _folders(weak: Runs, masks: Runs) -> tuple[str, ...]:
    return tuple(str(runs[fold].path) for runs in (weak, masks) for fold in sorted(runs))


def _explanations(losses: Sequence[AnnotationLoss], metrics: Sequence[str]) -> list[str]:
    found = [loss.line.estimate for loss in losses]
    return [
        f"− masks: the same method on the same episodes with masks, {in_units(metrics)}; the "
        "query's truth is a mask in all runs",
        "[low, high]: 95 % interval of the difference: other images of these classes, the same weights; kept: the "
        "share of the score with masks",
        *scope_notes(found),
        "trained methods were trained with masks",
    ]
