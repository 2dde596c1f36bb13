"""Scores by object size: a line for each method, a column for each size, the best answer without a model last."""

from collections.abc import Mapping, Sequence

from fsbench.results.rows.parts import ABSENT, SIZES
from fsbench.results.rows.row import SIZE, ResultRow, scores_of
from fsbench.results.table import METHOD, Cell, Column, Form, Line, Table, score_cell
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.blocks import Line as Key
from fsbench.results.tables.columns import BEST
from fsbench.results.tables.trivial import best_without_model, mark_of
from fsbench.scores.trivial import is_trivial

PAIRS = "(episode, way) pairs"
"""Label of the line with the numbers of pairs."""

Parts = Mapping[Key, Mapping[str, list[ResultRow]]]
"""Method and fold -> object size -> rows."""


def sizes(block: Block) -> Table:
    """Return a table of the first score by object size, for each method's mean, or its folds if it has no mean."""
    lines = {line: of for line, of in _lines(block).items() if line in block.whole_lines}
    return _table(block, lines, block.metrics[0], list(SIZES), Form.SCORE)


def sizes_in_full(block: Block, metric: str) -> Table:
    """Return a table of a score by object size for every fold and mean, with intervals and numbers of pairs."""
    lines = _lines(block)
    known = [name for name in (*SIZES, ABSENT) if any(metric in scores_of(of[name]) for of in lines.values())]
    table = _table(block, lines, metric, known, Form.FIGURE)
    first_of_fold: dict[str, Mapping[str, list[ResultRow]]] = {}
    for (_, fold), of in lines.items():
        first_of_fold.setdefault(fold, of)
    has_folds = len(table.columns) > 1 + len(known)
    pairs = [
        Line([Cell(PAIRS), *[Cell(fold)] * has_folds, *(Cell(f"{of[name][0].pairs:,}") for name in known)], "count")
        for fold, of in first_of_fold.items()
    ]
    return Table(table.columns, [*table.lines, *pairs] if table.lines else [], table.caption)


def _lines(block: Block) -> Parts:
    """Return the lines of methods that have all object sizes."""
    every = block.parts(SIZE)
    return {line: of for line, of in every.items() if not is_trivial(line[0]) and {*SIZES, ABSENT} <= of.keys()}


def _table(block: Block, lines: Parts, metric: str, names: Sequence[str], form: Form) -> Table:
    """Return lines of methods, then the best answer without a model on each fold; no lines if there is no score.

    Args:
        block: all rows.
        lines: those that are shown.
        metric: name of the score.
        names: object sizes.
        form: how scores are written.
    """
    scores = {line: {name: scores_of(of[name]).get(metric) for name in names} for line, of in lines.items()}
    folds = list(dict.fromkeys(fold for _, fold in lines))
    has_folds = len(folds) > 1
    columns = [METHOD, *[Column("fold")] * has_folds]
    columns += [Column(f"{name} %" if name in SIZES else name, form, metric=metric, part=name) for name in names]
    caption = f"{metric} by object size"
    if not any(score for of_line in scores.values() for score in of_line.values()):
        return Table(columns, [], caption)
    shown = [
        Line(
            [
                Cell(method, mark=block.marks.get(method, "")),
                *[Cell(fold)] * has_folds,
                *(
                    score_cell(score, mark_of(block.answers_beside(method), fold, metric, score, name))
                    for name, score in of_line.items()
                ),
            ]
        )
        for (method, fold), of_line in scores.items()
    ]
    for fold in folds:
        best = [best_without_model(block.answers, fold, metric, name) for name in names]
        cells = [Cell() if one is None else Cell(one[1], note=one[0]) for one in best]
        shown += [Line([Cell(BEST), *[Cell(fold)] * has_folds, *cells], "best answer")] * any(best)
    return Table(columns, shown, caption)
