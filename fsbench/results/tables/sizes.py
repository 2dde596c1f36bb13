"""Scores by object size: a line for each method, a column for each size, the best answer without a model last."""

from collections.abc import Mapping, Sequence

from fsbench.results.rows.parts import ABSENT, SIZES
from fsbench.results.rows.row import SIZE, ResultRow, scores_of
from fsbench.results.sheets.cells import figure, rounded
from fsbench.results.sheets.layout import Grid
from fsbench.results.sheets.names import LEAST, shorten
from fsbench.results.tables.blocks import Block, Line
from fsbench.results.tables.summary import BEST, aligned
from fsbench.results.tables.trivial import best_without_model, mark_of
from fsbench.scores.trivial import is_trivial

PAIRS = "(episode, way) pairs"
"""Label of the line with the numbers of pairs."""

Parts = Mapping[Line, Mapping[str, list[ResultRow]]]
"""Method and fold -> object size -> rows."""


def sizes(block: Block, width: int | None = None) -> Grid:
    """Lay out the first score by object size: of the mean of each method, or of each fold where it has no mean.

    Args:
        block: the rows.
        width: characters that the grid may take as text; names are shortened until it does. None: any.
    """
    lines = {line: of for line, of in _lines(block).items() if line in block.whole_lines}
    grid = _grid(block, lines, block.metrics[0], list(SIZES))
    if width is None or len(grid) == 1:
        return grid
    taken = sum(max(len(line[place]) for line in grid) + 2 for place in range(1, len(grid[0])))
    short = shorten([line[0] for line in grid], (max(width - taken, LEAST),))
    return [[short[line[0]], *line[1:]] for line in grid]


def sizes_in_full(block: Block, metric: str) -> Grid:
    """Lay out one score by object size of every fold and mean: with intervals, and with the numbers of pairs."""
    lines = _lines(block)
    known = [name for name in (*SIZES, ABSENT) if any(metric in scores_of(of[name]) for of in lines.values())]
    grid = _grid(block, lines, metric, known, with_intervals=True)
    first_of_fold: dict[str, Mapping[str, list[ResultRow]]] = {}
    for (_, fold), of in lines.items():
        first_of_fold.setdefault(fold, of)
    for fold in first_of_fold if len(grid) > 1 else ():
        pairs = [f"{first_of_fold[fold][name][0].pairs:,}" for name in known]
        grid.append([PAIRS, *[fold] * ("fold" in grid[0]), *pairs])
    return grid


def _lines(block: Block) -> Parts:
    """Return the lines of methods that have all object sizes."""
    every = block.parts(SIZE)
    return {line: of for line, of in every.items() if not is_trivial(line[0]) and {*SIZES, ABSENT} <= of.keys()}


def _grid(block: Block, lines: Parts, metric: str, columns: Sequence[str], *, with_intervals: bool = False) -> Grid:
    """Lay out lines, then the best answer without a model on each fold.

    Args:
        block: all rows.
        lines: those that are shown.
        metric: name of the score.
        columns: names of object sizes.
        with_intervals: whether scores have their intervals beside them.
    """
    scores = [{name: scores_of(of[name]).get(metric) for name in columns} for of in lines.values()]
    if not any(score for of_line in scores for score in of_line.values()):
        return [["method"]]
    folds = list(dict.fromkeys(fold for _, fold in lines))
    best = {(fold, name): best_without_model(block.answers, fold, metric, name) for fold in folds for name in columns}
    has_best = [fold for fold in folds if any(best[fold, name] for name in columns)]
    labels = [(method + block.marks.get(method, ""), fold) for method, fold in lines]
    labels += [(BEST, fold) for fold in has_best]
    figures = []
    for name in columns:
        cells = []
        for (method, fold), of_line in zip(lines, scores, strict=True):
            score = of_line[name]
            cell = figure(score, metric) if with_intervals or score is None else rounded(score.value, metric)
            cells.append(cell + mark_of(block.answers_beside(method), fold, metric, score, name))
        for least in (best[fold, name] for fold in has_best):
            cells.append(rounded(None if least is None else least[1], metric))
        figures.append(aligned(cells))
    heads = [f"{name} %" if name in SIZES else name for name in columns]
    head = ["method", *["fold"] * (len(folds) > 1), *heads]
    return [
        head,
        *([name, *[fold] * (len(folds) > 1), *line] for (name, fold), *line in zip(labels, *figures, strict=True)),
    ]
