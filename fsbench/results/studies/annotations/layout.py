"""Lay the losses of weaker annotations out as tables, and list them for CSV."""

from collections.abc import Iterator, Sequence

from fsbench.results.sheets.cells import MISSING, corrected_p, moved
from fsbench.results.sheets.data import decimal
from fsbench.results.sheets.drawing import row_fold_words
from fsbench.results.sheets.layout import Grid, Sheet, Style
from fsbench.results.sheets.names import shorten
from fsbench.results.studies.annotations.losses import MASK, AnnotationTable


def to_sheet(table: AnnotationTable, width: int | None = None) -> Sheet:
    """Lay out a grid per metric: a row for each method and annotation, after the method's own with masks."""
    names = shorten(table.methods, (12, 18, 24) if width is not None and width < 100 else (24, 34))
    parts: list[tuple[str, Grid]] = []
    for metric in dict.fromkeys(loss.metric for loss in table.differences):
        losses = [loss for loss in table.differences if loss.metric == metric]
        has_folds = len({loss.fold for loss in losses}) > 1
        rows: Grid = [["method", *["fold"] * has_folds, "supports", metric, "− masks", "corrected p", "kept"]]
        for loss in losses:
            score, masks = loss.scores
            own = [names[loss.method], *[loss.fold] * has_folds]
            with_masks = [*own, MASK, f"{masks:.2f}", "", "", ""]
            if with_masks not in rows:
                rows.append(with_masks)
            kept = MISSING if masks <= 0 else f"{100 * score / masks:.0f} %"
            rows.append([
                *own, loss.part, f"{score:.2f}", moved(loss.estimate, 2), corrected_p(loss.corrected), kept
            ])  # fmt: skip
        fold = "" if has_folds else f", {row_fold_words(loss.fold for loss in losses)}"
        parts.append((f"{metric} by what the supports are labelled with{fold}", rows))
    words = max(grid[0].index("supports") + 1 for _, grid in parts)
    return Sheet(table.title, parts, table.notes, {number: Style(words=words) for number in range(len(parts))})


COLUMNS = (
    "test", "method", "annotation", "fold", "metric", "score", "with masks", "difference", "low", "high", "p",
    "corrected p", "query images", "runs", "holds for",
)  # fmt: skip


def lines(table: AnnotationTable) -> Iterator[Sequence[object]]:
    """List the losses under `COLUMNS`: a line per method, annotation, fold and metric."""
    for loss in table.differences:
        found, runs = loss.estimate, table.runs[loss.method]
        yield [
            loss.test, loss.method, loss.part, loss.fold, loss.metric,
            *map(decimal, (*loss.scores, found.value, found.low, found.high)),
            decimal(found.p, ".6g"), decimal(loss.corrected, ".6g"), found.queries,
            " ".join([*runs[loss.part], *runs[MASK]]), found.scope,
        ]  # fmt: skip
