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
    """How the cells of a table's column are written: as names, scores, intervals, shares, counts and so on."""

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
    """Column of a printed table: its heading, and how its cells are written.

    Attributes:
        head: heading of the column, as it is printed.
        form: how the column's cells are written: as a name, score, count, share or other number.
        meaning: explanation of the heading in words, shown in HTML when a reader points at it.
        key: name of the column in CSV, JSON and page addresses; "" if it is in none of them.
        metric: name of the score in its cells, which determines digits, unit and which value is better; "" for other
            columns.
        part: part of the test to which its scores belong, such as a fold; "" for other columns.
        digits: number of decimals, for numbers that are no scores.
        unit: text behind each number; "" for none.
        rank: order in which columns are left out of a table that is too wide: the lowest rank above 0 first, all
            columns of one rank together; columns of rank 0 stay.
        room: number of characters of a name that must stay readable; other columns are left out to keep it.
        usual: whether the column is shown by default; text, Markdown and LaTeX only have such columns.
        short: heading to use if the column to the left has the same metric, such as "5¹" after "mIoU 5⁰"; "" for
            `head`.
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
    """Cell of a table: a value, its marks, and how it is displayed.

    Attributes:
        value: a number or words; None if there is none.
        estimate: for a score or difference, the value with its interval; None for a cell with another content.
        place: "best" or "second" among the methods of this column that are ranked together, else "".
        mark: sign behind the value, such as "!", which `Sheet.signs` explains; "" for none.
        letters: letters that methods share if they are not told apart in this column; "" if nothing was compared.
        note: where the value comes from, if that is not obvious; "" for no note.
        metric: name of the cell's score, if its column has several scores.
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
    """Return the table cell of a score or difference, with a sign and a rank ("best", "second"); empty for None."""
    return Cell() if score is None else Cell(score.value, score, place, mark)


def to_cell(value: Value) -> Cell:
    """Return a table cell for a plain value, a score or None."""
    return value if isinstance(value, Cell) else score_cell(value) if isinstance(value, Estimate) else Cell(value)


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        cells: one cell for each column of the table.
        kind: what the line is about: "method"; "training" (one training of a method); "further" (predictions that a
            protocol derives from a method's); "answer" (a trivial prediction without a model); "best answer" (in each
            column the best of the trivial predictions); "mean" (of the lines above); or "count" (what was counted in
            each column).
    """

    cells: Sequence[Cell]
    kind: Literal["method", "training", "further", "answer", "best answer", "mean", "count"] = "method"


@dataclass(frozen=True)
class Table:
    """A table for printing: columns, and lines with a cell for each column.

    Attributes:
        columns: columns from left to right; those with words come first.
        lines: lines from the top, each with a cell for each column.
        caption: what the table shows; "" if the sheet's title says it.
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
    """Tables of one test laid out for printing, with the texts above and below the tables.

    Explanations of intervals, stars and uncommon scores are not stored: `fsbench.results.sheets.legend` derives them
    from the cells.

    Attributes:
        title: data set, ways, shots and protocol of the test in words, or other words for what the tables are about.
        tables: tables from the top.
        lead: conclusions in words, printed above the tables.
        notes: notes below the tables, the most important first.
        legend: further lines of text that explain the tables.
        signs: {sign in cells, or last word of headings: its meaning}; only signs that occur in the tables are printed.
        comparisons: number of p-values that were corrected together.
        is_short: whether only the first lines of the notes are printed, and further notes counted.
    """

    title: str
    tables: Sequence[Table]
    lead: Sequence[str] = ()
    notes: Sequence[str] = ()
    legend: Sequence[str] = ()
    signs: Mapping[str, str] = field(default_factory=dict)
    comparisons: int = 0
    is_short: bool = False
