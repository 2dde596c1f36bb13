"""Scores by object size: a line for each method, a column for each size, the best answer without a model last."""

from collections.abc import Callable, Sequence

from fsbench.protocols.reading import metric_named
from fsbench.results.tables.blocks import Block, Row
from fsbench.results.tables.layout import MISSING, Grid, figure, shorten
from fsbench.results.tables.parts import ABSENT, SIZES
from fsbench.results.tables.rows import MEAN
from fsbench.results.tables.summary import BEST, LEAST, aligned
from fsbench.results.tables.trivial import best_without_model, mark_of
from fsbench.scores.trivial import TRIVIAL

PAIRS = "(episode, way) pairs"
"""Label of the line with the numbers of pairs."""


def sizes(block: Block, width: int | None = None) -> Grid:
    """Lay out the first score by object size: of the mean of each method, or of each fold where it has no mean.

    Args:
        block: the rows.
        width: characters that the grid may take as text; names are shortened until it does. None: any.
    """
    rows = _rows(block)
    means = {row.method for row in rows if row.fold == MEAN}
    rows = [row for row in rows if row.fold == MEAN or row.method not in means]
    metric, columns = block.metrics[0], list(SIZES)
    digits = metric_named(metric).digits()
    grid = _grid(block, rows, metric, columns, lambda row, name: f"{row.by_size[name].scores[metric].value:.{digits}f}")
    if width is None or len(grid) == 1:
        return grid
    taken = sum(max(len(line[place]) for line in grid) + 2 for place in range(1, len(grid[0])))
    short = shorten([line[0] for line in grid], (max(width - taken, LEAST),))
    return [[short[line[0]], *line[1:]] for line in grid]


def sizes_in_full(block: Block, metric: str) -> Grid:
    """Lay out one score by object size of every fold and mean: with intervals, and with the numbers of pairs."""
    rows = _rows(block)
    known = [name for name in (*SIZES, ABSENT) if any(metric in row.by_size[name].scores for row in rows)]
    grid = _grid(block, rows, metric, known, lambda row, name: figure(row.by_size[name].scores[metric], metric))
    has_folds = "fold" in grid[0]
    first_of_fold = {row.fold: row for row in reversed(rows)}
    for fold in dict.fromkeys(row.fold for row in rows) if len(grid) > 1 else ():
        pairs = [f"{first_of_fold[fold].by_size[name].pairs:,}" for name in known]
        grid.append([PAIRS, *[fold] * has_folds, *pairs])
    return grid


def _rows(block: Block) -> list[Row]:
    """Return the rows of methods that have all object sizes."""
    return [row for row in block.rows if row.method not in TRIVIAL and {*SIZES, ABSENT} <= row.by_size.keys()]


def _grid(
    block: Block, rows: Sequence[Row], metric: str, columns: Sequence[str], cell: Callable[[Row, str], str]
) -> Grid:
    """Lay out rows, then the best answer without a model on each fold.

    Args:
        block: all rows.
        rows: those that are shown.
        metric: name of the score.
        columns: names of object sizes.
        cell: writes the score of a row on an object size, which it has.
    """
    if not any(metric in row.by_size[name].scores for row in rows for name in columns):
        return [["method"]]
    folds = list(dict.fromkeys(row.fold for row in rows))
    labels = [[row.method + block.marks.get(row.method, ""), *[row.fold] * (len(folds) > 1)] for row in rows]
    best = {(fold, name): best_without_model(block.rows, fold, metric, name) for fold in folds for name in columns}
    has_best = [fold for fold in folds if any(best[fold, name] for name in columns)]
    labels += [[BEST, *[fold] * (len(folds) > 1)] for fold in has_best]
    digits = metric_named(metric).digits()
    figures = []
    for name in columns:
        cells = []
        for row in rows:
            score = row.by_size[name].scores.get(metric)
            mark = mark_of(block.rows, row.fold, metric, score, name)
            cells.append((MISSING if score is None else cell(row, name)) + mark)
        for least in (best[fold, name] for fold in has_best):
            cells.append(MISSING if least is None else f"{least[1]:.{digits}f}")
        figures.append(aligned(cells))
    heads = [f"{name} %" if name in SIZES else name for name in columns]
    head = ["method", *["fold"] * (len(folds) > 1), *heads]
    return [head, *([*label, *line] for label, *line in zip(labels, *figures, strict=True))]
