"""Lay the losses of weaker annotations out as tables, and list them for CSV."""

from collections.abc import Iterator, Sequence

from fsbench.results.tables.annotations.losses import AnnotationLoss, AnnotationTable
from fsbench.results.tables.formats import decimal
from fsbench.results.tables.layout import Grid, Sheet, Style, corrected_p, moved, shorten


def to_sheet(table: AnnotationTable, width: int | None = None) -> Sheet:
    """Lay out a grid per metric: a row for each method and annotation, after the method's own with masks."""
    names = shorten(table.methods, (12, 18, 24) if width is not None and width < 100 else (24, 34))
    parts: list[tuple[str, Grid]] = []
    for metric in table.metrics:
        of_metric = [loss for loss in table.losses if loss.metric == metric]
        folds = {loss.line.fold for loss in of_metric}
        head = ["method", "fold", "supports", metric, "− masks", "corrected p", "kept"]
        rows: Grid = [head]
        for loss in of_metric:
            own = [names[loss.method], loss.line.fold]
            masks = [*own, "mask", f"{loss.mask_score:.2f}", "", "", ""]
            if masks not in rows:
                rows.append(masks)
            rows.append([
                *own,
                loss.annotation,
                f"{loss.score:.2f}",
                moved(loss.line.estimate, 2),
                corrected_p(loss.line.corrected),
                _kept(loss),
            ])  # fmt: skip
        if len(folds) == 1:
            rows = [[row[0], *row[2:]] for row in rows]
        fold = "" if len(folds) > 1 else ", mean over folds" if folds == {"mean"} else f", fold {folds.pop()}"
        parts.append((f"{metric} by what the supports are labelled with{fold}", rows))
    words = 2 if all(len(grid[0]) == 6 for _, grid in parts) else 3
    return Sheet(table.title, parts, table.notes, {number: Style(words=words) for number in range(len(parts))})


def _kept(loss: AnnotationLoss) -> str:
    return "–" if loss.mask_score <= 0 else f"{100 * loss.score / loss.mask_score:.0f} %"


COLUMNS = (
    "test", "method", "annotation", "fold", "metric", "score", "with masks", "difference", "low", "high", "p",
    "corrected p", "query images", "runs", "holds for",
)  # fmt: skip


def lines(table: AnnotationTable) -> Iterator[Sequence[object]]:
    """List the losses under `COLUMNS`: a line per method, annotation, fold and metric."""
    for loss in table.losses:
        interval = loss.line.estimate
        numbers = (loss.score, loss.mask_score, interval.value, interval.low, interval.high)
        yield [
            table.title, loss.method, loss.annotation, loss.line.fold, loss.metric,
            *map(decimal, numbers), decimal(interval.p, ".6g"), decimal(loss.line.corrected, ".6g"), interval.queries,
            " ".join(loss.runs), interval.scope,
        ]  # fmt: skip
