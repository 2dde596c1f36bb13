"""A study's scores as papers print them: a line for each method, its folds side by side, then their mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from fsbench.pages.report.collect import Study
from fsbench.records.grouping import all_runs
from fsbench.results.comparison.compare import Comparison, orders
from fsbench.results.rows.row import ALL, reaches_of
from fsbench.results.table import METHOD, Cell, Column, Form, Line, Table
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.columns import best_line, known_costs, score_cells, score_columns
from fsbench.results.tables.trivial import values_without_model
from fsbench.scores.decisions import compact_letters
from fsbench.scores.estimate import Scope
from fsbench.scores.trainings import Reach, ranked_together
from fsbench.scores.trivial import is_trivial


@dataclass(frozen=True)
class Leaderboard:
    """Table of a study's methods on a report's page, the best first.

    Attributes:
        table: lines of the methods; then of predictions that the protocol derives from methods', of the best trivial
            prediction (without a model) in each column if there are several, and of the trivial predictions.
        without_letters: methods that have no letters, since their differences were not tested.
        conditional: whether the letters (methods that share one are not told apart) hold only for the supports of this
            test.
    """

    table: Table
    without_letters: list[str] = field(default_factory=list)
    conditional: bool = False

    @property
    def columns(self) -> Sequence[Column]:
        """The table's columns without that of the method's name."""
        return self.table.columns[1:]

    def lines(self, kind: str) -> list[Line]:
        """Return the table's lines of one kind, such as "method" or "answer" (see `fsbench.results.table.Line`)."""
        return [line for line in self.table.lines if line.kind == kind]


def build_leaderboard(study: Study, comparison: Comparison | None) -> Leaderboard:
    """Build the table of a study's methods, with letters if they were compared in pairs."""
    block = study.block
    scores = [column for column in score_columns(block) if column.form is not Form.INTERVAL]
    methods = list(study.methods)
    costs = {label: [record.run.cost for record in all_runs(runs)] for label, runs in study.methods.items()}
    shown = known_costs(costs.values())
    columns = [METHOD, *scores, *(each.column for each in shown)]
    letters = {} if comparison is None else _letters(comparison)
    by_column = [_cells(block, methods, column, letters) for column in scores]
    by_column += [[each.cell(costs[label]) for label in methods] for each in shown]
    every = dict.fromkeys(method for method, _ in block.lines)
    answers = [name for name in every if is_trivial(name)]
    further = [name for name in every if name not in (*answers, *methods)]
    lines = _lines(block, methods, by_column)
    no_costs = [[Cell()] * len(further) for _ in shown]
    lines += _lines(block, further, [*(score_cells(block, further, c, False) for c in scores), *no_costs], "further")
    lines += [best_line(block, columns[1:])] if len(answers) > 1 else []
    lines += _lines(block, answers, [_answer_cells(block, answers, column) for column in columns[1:]], "answer")
    compared = set() if comparison is None else set(comparison.methods)
    tested = [] if comparison is None else [row for row in comparison.rows if row.part_kind == ALL]
    return Leaderboard(
        Table(columns, lines),
        [label for label in methods if compared and label not in {name for _, _, name in letters}],
        any(row.estimate.scope is Scope.THESE_SUPPORTS for row in tested),
    )


def _lines(
    block: Block,
    names: Sequence[str],
    by_column: Sequence[Sequence[Cell]],
    kind: Literal["method", "further", "answer"] = "method",
) -> list[Line]:
    return [
        Line([Cell(name, mark=block.marks.get(name, "")), *(cells[n] for cells in by_column)], kind)
        for n, name in enumerate(names)
    ]


def _cells(
    block: Block, methods: Sequence[str], column: Column, letters: Mapping[tuple[str, str, str], str]
) -> list[Cell]:
    """Return a column's cells of methods, with the letters of those that are not told apart."""
    return [
        replace(cell, letters=letters.get((column.metric, column.part, label), ""))
        for label, cell in zip(methods, score_cells(block, methods, column), strict=True)
    ]


def _answer_cells(block: Block, answers: Sequence[str], column: Column) -> list[Cell]:
    """Return a column's cells of answers without a model."""
    values = values_without_model(block.answers, column.part, column.metric)
    scores = [block.lines.get((name, column.part), {}).get(column.metric) for name in answers]
    return [Cell(values.get(name), score) for name, score in zip(answers, scores, strict=True)]


def _letters(comparison: Comparison) -> dict[tuple[str, str, str], str]:
    """Return (metric, fold, method) -> letters, of every column of scores that was compared.

    A column whose differences do not all hold for the same (`common_scope`) has none, nor has a method with one
    training beside others with several.
    """
    found = {}
    for metric, rows in comparison.tables[ALL].items():
        reaches = ranked_together(reaches_of(rows))
        widest = next((reach for reach in Reach if reach in reaches.values()), None)
        for fold, (order, different) in orders(rows).items():
            lettered = [label for label in order if reaches.get(label) is widest]
            for label, word in compact_letters(lettered, {two for two in different if two <= {*lettered}}).items():
                found[metric, fold, label] = word
    return found
