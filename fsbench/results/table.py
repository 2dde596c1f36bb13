"""A table as values: columns that say what their figures are, lines of cells, and words around them.

Nothing here is text of a figure: `fsbench.results.sheets` writes tables, one file for each format.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from fsbench.scores.estimate import Estimate

Place = Literal["best", "second", ""]
"""Place of a figure in its column, among the lines that it is ranked with."""


class Form(StrEnum):
    """How a column's cells are written."""

    NAME = "name"
    """Words that a narrow text may shorten, such as a method with its settings."""
    WORDS = "words"
    FIGURES = "figures"
    """Words that are figures, such as 12 of 20; aligned as numbers are."""
    SCORE = "score"
    """A score, with the digits of the column's metric."""
    INTERVAL = "interval"
    """The 95 % interval of a score, without the score."""
    FIGURE = "figure"
    """A score and its interval."""
    DIFFERENCE = "difference"
    """A signed difference and its interval."""
    P = "p"
    """A p-value."""
    CORRECTED = "corrected"
    """A p-value after its correction, with a star where it tells two methods apart."""
    COUNT = "count"
    """A whole number, by thousands."""
    NUMBER = "number"
    """A number with `Column.digits` digits after the point."""
    SIGNIFICANT = "significant"
    """A number with `Column.digits` significant digits, such as seconds that may be few or many."""
    SHARE = "share"
    """A share of 1, as percent."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        head: its name, as it is printed.
        form: how its cells are written.
        meaning: the head in words, for a reader who points at it.
        key: its name in data and in the address of a page; "" if it is in neither.
        metric: name of the score that its cells are of, which says its digits, its unit and which of two is better; ""
            of other columns.
        part: part that its scores are of, such as a fold; "" of other columns.
        digits: digits after the point, of numbers that are of no metric.
        unit: written behind a number; "" for none.
        rank: where the width does not do for all columns, those of the lowest rank above 0 are left out first; columns
            of the same rank go together, and those of rank 0 stay.
        room: characters of a name that other columns are left out for.
        usual: whether it is shown before a reader chooses columns; text, Markdown and LaTeX have no others.
        short: its head where the column to the left is of the same metric, such as 5¹ behind mIoU 5⁰; "" for the head.
    """

    head: str
    form: Form = Form.WORDS
    meaning: str = ""
    key: str = ""
    metric: str = ""
    part: str = ""
    digits: int = 2
    unit: str = ""
    rank: int = 0
    room: int = 24
    usual: bool = True
    short: str = ""

    @property
    def is_words(self) -> bool:
        """Whether the column's cells are words, aligned left."""
        return self.form in (Form.NAME, Form.WORDS)


METHOD = Column("method", Form.NAME)
"""The column of methods, the first of most tables."""


@dataclass(frozen=True)
class Cell:
    """Cell of a table: a value, its mark, and how it is shown.

    Attributes:
        value: a number or words; None if there is none.
        estimate: the score or difference that the value is of, with its interval.
        place: its place in its column.
        mark: a sign behind it, which `Sheet.signs` explains.
        letters: letters of its column's groups of methods that are not told apart; "" if nothing was compared.
        note: where the figure comes from, if that is not plain.
        metric: name of its score, where its column has several.
    """

    value: float | str | None = None
    estimate: Estimate | None = None
    place: Place = ""
    mark: str = ""
    letters: str = ""
    note: str = ""
    metric: str = ""


Value = Cell | Estimate | float | str | None
"""A cell, or a score, a number or words that one is made of; None where there is nothing."""


def score_cell(score: Estimate | None, mark: str = "", place: Place = "") -> Cell:
    """Return the cell of a score or difference; empty if there is none."""
    return Cell() if score is None else Cell(score.value, score, place, mark)


def to_cell(value: Value) -> Cell:
    """Return the cell of a value."""
    return value if isinstance(value, Cell) else score_cell(value) if isinstance(value, Estimate) else Cell(value)


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        cells: one for each column.
        kind: what the line is of: a method, one training of it, an answer that a protocol derives from one, an answer
            without a model, or the best of these in each column; the mean of the lines above; or what was counted in
            each column.
    """

    cells: Sequence[Cell]
    kind: Literal["method", "training", "further", "answer", "best answer", "mean", "count"] = "method"


@dataclass(frozen=True)
class Table:
    """Lines under columns.

    Attributes:
        columns: from the left; those of words come first.
        lines: each with a cell for each column.
        caption: what the table shows; "" if the title of its sheet says it.
    """

    columns: Sequence[Column]
    lines: Sequence[Line]
    caption: str = ""

    @classmethod
    def from_columns(cls, *columns: tuple[Column, Iterable[Value]], caption: str = "") -> "Table":
        """Return a table from columns with their values.

        >>> table = Table.from_columns((Column("method"), ["emat"]), (Column("pairs", Form.COUNT), [120]))
        >>> [cell.value for cell in table.lines[0].cells]
        ['emat', 120]
        """
        heads, values = zip(*columns, strict=True)
        cells = zip(*(map(to_cell, of_column) for of_column in values), strict=True)
        return cls(heads, [*map(Line, cells)], caption)


@dataclass(frozen=True)
class Sheet:
    """Tables of one test, with the texts above and below them.

    What intervals, stars and uncommon scores mean follows from the cells: `fsbench.results.sheets.legend` says it.

    Attributes:
        title: what the tables are about.
        tables: from above.
        lead: the answer in words, above the tables.
        notes: what a reader may want to know, the most important first.
        legend: further lines on what stands in the tables.
        signs: what marks of cells, and words that end heads, mean: the mark or word -> its meaning. Said of those that
            are shown.
        comparisons: number of comparisons that corrected p-values are corrected for.
        is_short: whether notes beyond the first lines are only counted.
    """

    title: str
    tables: Sequence[Table]
    lead: Sequence[str] = ()
    notes: Sequence[str] = ()
    legend: Sequence[str] = ()
    signs: Mapping[str, str] = field(default_factory=dict)
    comparisons: int = 0
    is_short: bool = False
