"""Lay the losses of weaker annotations out as tables."""

from collections.abc import Sequence

from fsbench.results.rows.row import ResultRow
from fsbench.results.sheets.drawing import row_fold_words
from fsbench.results.studies.annotations.losses import MASK, AnnotationTable
from fsbench.results.table import METHOD, Cell, Column, Form, Line, Sheet, Table, score_cell


def to_sheet(table: AnnotationTable) -> Sheet:
    """Lay out tables for printing, one per metric: scores with masks, and with each weaker annotation of supports."""
    metrics = dict.fromkeys(loss.metric for loss in table.differences)
    tables = [_losses([loss for loss in table.differences if loss.metric == metric]) for metric in metrics]
    return Sheet(table.title, tables, notes=table.notes, comparisons=table.comparisons)


def _losses(losses: Sequence[ResultRow]) -> Table:
    metric, has_folds = losses[0].metric, len({loss.fold for loss in losses}) > 1
    columns = [
        METHOD,
        *[Column("fold")] * has_folds,
        Column("supports"),
        Column(metric, Form.SCORE, metric=metric),
        Column("− masks", Form.DIFFERENCE, metric=metric),
        Column("corrected p", Form.CORRECTED),
        Column("kept", Form.SHARE),
    ]
    lines: list[Line] = []
    for loss in losses:
        score, masks = loss.scores
        own = [Cell(loss.method), *[Cell(loss.fold)] * has_folds]
        with_masks = Line([*own, Cell(MASK), Cell(masks), *[Cell("")] * 3])
        if with_masks not in lines:
            lines.append(with_masks)
        kept = Cell(score / masks if masks > 0 else None)
        lines.append(
            Line([*own, Cell(loss.part), Cell(score), score_cell(loss.estimate), Cell(loss.corrected), kept])
        )  # fmt: skip
    fold = "" if has_folds else f", {row_fold_words(loss.fold for loss in losses)}"
    return Table(columns, lines, f"{metric} by what the supports are labelled with{fold}")
