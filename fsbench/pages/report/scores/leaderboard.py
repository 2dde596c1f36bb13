"""Arrange a study's scores as papers print them: a row for each method, its folds side by side, then their mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from fsbench.pages.report.collect import Study
from fsbench.pages.report.costs import mean_costs
from fsbench.protocols.reading import metric_named
from fsbench.results.comparison.compare import Comparison, orders
from fsbench.results.rows.row import ALL, fold_in_words
from fsbench.results.sheets.cells import MISSING, places, rounded
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.summary import fold_label, method_folds
from fsbench.scores.decisions import compact_letters
from fsbench.scores.estimate import Estimate, Scope
from fsbench.scores.trivial import is_trivial

COST_COLUMNS = {
    "trainable": ("trainable", "trainable parameters", "{:,.0f}"),
    "speed": ("episodes/s", "episodes per second, from the mean of seconds over the runs", "{:.2f}"),
    "memory": ("memory MiB", "peak memory, the largest of the runs", "{:,.0f}"),
}
"""Key of a cost -> head of its column, its meaning, its format."""


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard besides the method.

    Attributes:
        key: Name in the address of the page.
        head: As it is printed.
        meaning: In words.
        metric: Of its scores; "" of a cost.
        fold: Of its scores: a number, "mean" or "all"; "" of a cost.
        rank: Where the width does not do for all, columns are left out by descending rank; 0 stays.
        usual: True if it is shown unless somebody chooses other columns.
    """

    key: str
    head: str
    meaning: str
    metric: str = ""
    fold: str = ""
    rank: int = 0
    usual: bool = True


@dataclass(frozen=True)
class Cell:
    """A figure of the leaderboard.

    Attributes:
        text: As it is printed; "–" where there is none.
        value: As a number.
        interval: Of a score.
        place: "best" or "second" of its column.
        letters: Two methods whose scores are not told apart share one; "" where they were not compared.
        note: In words where the figure comes from, if that is not plain.
    """

    text: str = MISSING
    value: float | None = None
    interval: Estimate | None = None
    place: str = ""
    letters: str = ""
    note: str = ""


@dataclass(frozen=True)
class Line:
    """A row of the leaderboard.

    Attributes:
        label: Of the method, or of an answer that needs no model.
        mark: Of its card.
        cells: One for each column.
    """

    label: str
    mark: str
    cells: list[Cell]

    @property
    def name(self) -> str:
        """The method without the settings that its label has in parentheses."""
        return self.label.partition(" (")[0] if self.settings else self.label

    @property
    def settings(self) -> str:
        """The settings that tell variants of a method apart; "" where there are none."""
        name, _, rest = self.label.partition(" (")
        return rest[:-1] if name and rest.endswith(")") else ""


@dataclass(frozen=True)
class Leaderboard:
    """The table of a study.

    Attributes:
        columns: Besides the method.
        lines: The best method first.
        further: Lines of further answers that the protocol derives from the methods' runs.
        answers: Lines of the answers that need no model.
        best_answer: The best figure of these in each column; None where there is none or one alone.
        without_letters: Methods of which no differences were tested.
        conditional: True if letters hold for these supports alone.
    """

    columns: list[Column]
    lines: list[Line]
    answers: list[Line] = field(default_factory=list)
    best_answer: Line | None = None
    without_letters: list[str] = field(default_factory=list)
    further: list[Line] = field(default_factory=list)
    conditional: bool = False


def build_leaderboard(study: Study, comparison: Comparison | None) -> Leaderboard:
    """Build the leaderboard of a study, with letters where its methods were compared in pairs."""
    block = study.block
    columns = [*_score_columns(block), *_cost_columns(study)]
    letters = {} if comparison is None else _letters(comparison)
    labels = list(study.methods)
    marks = [block.marks.get(label, "") for label in labels]
    by_column = [_cells(column, study, letters) for column in columns]
    lines = [
        Line(label, mark, [cells[i] for cells in by_column])
        for i, (label, mark) in enumerate(zip(labels, marks, strict=True))
    ]
    every = dict.fromkeys(method for method, _ in block.lines)
    answers = [Line(name, "", _answer_cells(name, columns, block)) for name in every if is_trivial(name)]
    further = [
        Line(name, block.marks.get(name, ""), [_score_cell(block, name, column) for column in columns])
        for name in every
        if not is_trivial(name) and name not in study.methods
    ]
    compared = set() if comparison is None else set(comparison.methods)
    best = Line("best answer without a model", "", _best_cells(answers, columns)) if len(answers) > 1 else None
    without_letters = [label for label in labels if compared and label not in compared]
    tested = [] if comparison is None else [row for row in comparison.rows if row.part_kind == ALL]
    conditional = any(row.estimate.scope is Scope.THESE_SUPPORTS for row in tested)
    return Leaderboard(columns, lines, answers, best, without_letters, further, conditional)


def _score_columns(block: Block) -> list[Column]:
    """List the columns of scores: folds and mean of the first metric, the mean of others; their folds if wanted."""
    folds = method_folds(block)
    has_mean = any(fold == "mean" for _, fold in block.method_lines)
    shown = [*folds, *(["mean"] if has_mean else [])]
    whole = "mean" if has_mean else folds[0] if len(folds) == 1 else ""
    columns = []
    for number, metric in enumerate(block.metrics):
        for fold in shown:
            label = "mean" if fold == "mean" else fold_label(block, fold)
            head = " ".join(filter(None, (metric, label)))
            classes = f" with {block.classes[fold]} classes" if fold in block.classes else ""
            place = f"{fold_in_words(fold)}{classes}"
            meaning = ", ".join(filter(None, (metric, place)))
            first = number == 0
            usual = fold == whole or first
            rank = 0 if first and fold == (whole or fold) else 5 if first else 6 + len(block.metrics) - number
            columns.append(Column(f"{metric}.{fold}", head, meaning, metric, fold, rank, usual))
    return columns


def _cost_columns(study: Study) -> list[Column]:
    columns = [
        Column(key, head, meaning, rank=10 + place)
        for place, (key, (head, meaning, _)) in enumerate(COST_COLUMNS.items())
    ]
    return [column for column in columns if any(_cost(study, label, column.key) is not None for label in study.methods)]


def _cost(study: Study, label: str, key: str) -> float | None:
    costs = mean_costs(list(study.methods[label].values()))
    if key == "speed":
        return 1 / costs["seconds"] if costs["seconds"] else None
    return costs[key]


def _cells(column: Column, study: Study, letters: Mapping[tuple[str, str, str], str]) -> list[Cell]:
    """Build a column's cells, one for each method."""
    if not column.metric:
        costs = [_cost(study, label, column.key) for label in study.methods]
        form = COST_COLUMNS[column.key][2]
        return [Cell() if cost is None else Cell(form.format(cost), cost) for cost in costs]
    cells = [_score_cell(study.block, label, column) for label in study.methods]
    groups = study.block.ranked_among(list(study.methods))
    ranked = places([cell.text for cell in cells], [cell.interval for cell in cells], groups, column.metric)
    return [
        Cell(cell.text, cell.value, cell.interval, place, letters.get((column.metric, column.fold, label), ""))
        for label, cell, place in zip(study.methods, cells, ranked, strict=True)
    ]


def _score_cell(block: Block, label: str, column: Column) -> Cell:
    score = block.lines.get((label, column.fold), {}).get(column.metric)
    return Cell() if score is None else Cell(rounded(score.value, column.metric), score.value, score)


def _letters(comparison: Comparison) -> dict[tuple[str, str, str], str]:
    """Return (metric, fold, method) -> letters, of every column of scores that was compared.

    A column whose differences do not all hold for the same (`common_scope`) has none.
    """
    return {
        (metric, fold, label): word
        for metric, rows in comparison.tables[ALL].items()
        for fold, (ranked, different) in orders(rows).items()
        for label, word in compact_letters(ranked, different).items()
    }


def _answer_cells(label: str, columns: Sequence[Column], block: Block) -> list[Cell]:
    """Build the cells of an answer without a model; its mean is that of its folds, without an interval."""
    cells = []
    for column in columns:
        folds = method_folds(block) if column.fold == "mean" else [column.fold]
        scores = [block.lines.get((label, fold), {}).get(column.metric) for fold in folds]
        values = [score.value for score in scores if score is not None]
        value = fmean(values) if len(values) == len(folds) else None
        interval = scores[0] if len(folds) == 1 and scores else None
        cells.append(Cell() if value is None else Cell(rounded(value, column.metric), value, interval))
    return cells


def _best_cells(answers: Sequence[Line], columns: Sequence[Column]) -> list[Cell]:
    """Return the best cell of each column, with the answer that it is of."""
    best = []
    for i, column in enumerate(columns):
        known = {line.cells[i].value: line for line in answers if line.cells[i].value is not None}
        if not known:
            best.append(Cell())
            continue
        line = known[max(known, key=lambda value: metric_named(column.metric).sign * (value or 0.0))]
        best.append(Cell(line.cells[i].text, line.cells[i].value, line.cells[i].interval, note=line.label))
    return best
