"""Sheets of grids, which tables are laid out as before they are written."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fsbench.results import table
from fsbench.results.sheets.legend import foot
from fsbench.results.table import Cell, Form, Line

Grid = list[list[str]]


@dataclass(frozen=True)
class Style:
    """How a grid is written.

    Attributes:
        words: number of columns, from the left, that hold words; numbers follow.
        bold: (row, column) of cells that are written bold where a format can.
    """

    words: int = 2
    bold: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Sheet:
    """A titled list of grids, and what stands above and below them.

    Attributes:
        title: what the grids are about.
        parts: (caption, grid); a grid's first row is its head.
        notes: what a reader may want to know, the most important first.
        styles: number of a part, from 0 -> its style, where that is not the usual one.
        lead: the answer in words, above the grids.
        legend: what the marks in the grids mean.
        is_short: whether notes beyond the first lines are only counted.
    """

    title: str
    parts: list[tuple[str, Grid]]
    notes: list[str]
    styles: Mapping[int, Style] = field(default_factory=dict)
    lead: list[str] = field(default_factory=list)
    legend: list[str] = field(default_factory=list)
    is_short: bool = False

    @property
    def foot(self) -> list[str]:
        """The lines below the grids."""
        return foot(self.typed())

    def typed(self) -> table.Sheet:
        """Return the sheet as one of typed tables, whose cells are the grids' words."""
        tables = []
        for number, (caption, (head, *rows)) in enumerate(self.parts):
            style = self.style(number)
            columns = [
                table.Column(name, Form.WORDS if j < style.words else Form.FIGURES) for j, name in enumerate(head)
            ]
            lines = [
                Line([Cell(cell, place="best" if (i, j) in style.bold else "") for j, cell in enumerate(row)])
                for i, row in enumerate(rows, 1)
            ]
            tables.append(table.Table(columns, lines, caption))
        return table.Sheet(self.title, tables, self.lead, self.notes, self.legend, is_short=self.is_short)

    def style(self, number: int) -> Style:
        """Return the style of the part of that number."""
        return self.styles.get(number, Style())
