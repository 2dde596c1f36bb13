"""Losses against masks of methods whose supports have weaker annotations: paired differences on the same episodes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fsbench.base.errors import SettingsError
from fsbench.data.annotations import ANNOTATIONS
from fsbench.records.description import all_notes
from fsbench.records.grouping import Runs, all_runs, comparable, names_of_tests, runs_by_fold, variants_of_groups
from fsbench.records.record import Record
from fsbench.results.rows.comparable import check_same
from fsbench.results.rows.points import Point, PointTable, correct_tables, paired_differences
from fsbench.results.rows.row import ANNOTATION, ResultRow
from fsbench.results.rows.scoring import Request, Sums, compared_parts
from fsbench.results.sheets.legend import in_units

MASK = "mask"
LEFT_OUT = "left out, because folds, weights or settings differ from the run with masks"


@dataclass(frozen=True)
class AnnotationTable(PointTable):
    """Scores of methods with masks and with weaker annotations of the supports, on one test.

    Each of the `differences` is a method's score with a weak annotation minus the same method's score with masks; the
    field `part` names the annotation. The differences are ordered by metric, then by method (the best with masks
    first), then by annotation.

    Attributes:
        scores: the scores of each method with masks and with each weak annotation.
        runs: {method: {annotation: folders of its runs, by ascending fold}}.
    """

    scores: list[ResultRow]
    runs: dict[str, dict[str, list[str]]]

    @property
    def methods(self) -> list[str]:
        """Labels of the methods, the best with masks first."""
        return list(dict.fromkeys(loss.method for loss in self.differences))

    @property
    def rows(self) -> list[ResultRow]:
        """Result rows of all scores, then of all differences."""
        return [*self.scores, *self.differences]


def annotation_tables(records: Sequence[Record], asked: Request = Request(())) -> list[AnnotationTable]:
    """Compare runs that differ only in the annotation of supports, a table for each test.

    P-values of all tables are corrected together.

    Args:
        records: finished runs.
        asked: the scores to compute; if it names none, the first score of the protocol is used.

    Raises:
        RecordError: a method's runs have the same episodes but different label maps.
        SettingsError: no method has runs with masks and with a weaker annotation, or no run has one of the requested
            scores.
    """
    groups = [group for group in comparable(records) if has_losses(group)]
    named = zip(groups, names_of_tests(groups), strict=True)
    found = [_table(group, replace(asked, test=name)) for group, name in named]
    if not found:
        raise SettingsError(
            "no method has runs with masks and with weaker annotations of the supports on the same episodes; expected "
            "the runs of a grid over them (fsbench grid annotations)"
        )
    return correct_tables(found)


def has_losses(records: Sequence[Record]) -> bool:
    """Return whether one test has a method with runs both with masks and with a weaker annotation of supports."""
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
            found.setdefault(label, {})[name] = runs_by_fold(members)
    return found


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
    return weak.keys() == masks.keys() and all(
        [_settings(record) for record in weak[fold]] == [_settings(record) for record in masks[fold]] for fold in weak
    )


def _settings(record: Record) -> dict[str, Any]:
    """Return what may change a run's result beside the annotation and the episodes, which are the same."""
    others = {"support_annotation", "manifest_sha256", "files_sha256"}
    return record.run.identity.model_dump(exclude=others)


def _table(records: Sequence[Record], asked: Request) -> AnnotationTable:
    """Compare the methods of one test, some of which have losses; p are not corrected yet."""
    protocol = records[0].protocol
    wanted = asked.metrics or protocol.default_metrics[:1]
    request, sums = replace(asked, metrics=wanted), Sums(asked.measure)
    compared, left_out = _compared(records)
    scores: list[ResultRow] = []
    losses: list[ResultRow] = []
    for label, runs in compared.items():
        check_same(runs)
        for scope in compared_parts(runs[MASK]):
            points = [
                Point(label, replace(scope, part_kind=ANNOTATION, part=name), of_annotation)
                for name, of_annotation in runs.items()
            ]
            every = (row for point in points for row in point.scores(request.test, sums))
            scores += [row for row in every if row.metric in wanted]
            masks, *weak = points
            losses += paired_differences([(point, masks) for point in weak], request, sums)
    if not losses:
        names = ", ".join(protocol.metric_names)
        raise SettingsError(f"no two runs have {' or '.join(wanted)}: expected scores of {protocol.name} ({names})")
    losses.sort(key=lambda loss: (wanted.index(loss.metric), -loss.scores[1]))
    shown = [
        record for runs in compared.values() for of_annotation in runs.values() for record in all_runs(of_annotation)
    ]
    notes = [*_explanations(wanted), *(f"{LEFT_OUT}: {each}" for each in left_out), *all_notes(shown)]
    folders = {
        label: {name: [str(record.path) for record in all_runs(of)] for name, of in runs.items()}
        for label, runs in compared.items()
    }
    return AnnotationTable(request.test, wanted, losses, notes, scores, folders)


def _explanations(metrics: Sequence[str]) -> list[str]:
    return [
        f"− masks: minus the score of the same method with masks on the same episodes, {in_units(metrics)}. The "
        "query's truth is a mask in all runs",
        "[low, high]: 95 % interval of the difference for other images of these classes, same weights. kept: share of "
        "the score with masks",
        "trained methods were trained with masks",
    ]
