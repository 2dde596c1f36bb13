"""Sheets of grids, which tables are laid out as before they are written."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Grid = list[list[str]]
MOST_NOTES = 5
"""Lines below a table, unless all are asked for."""


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
        is_short: whether notes beyond `MOST_NOTES` lines are only counted.
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
        """The lines below the grids: the notes, and what marks mean."""
        room = MOST_NOTES - len(self.legend)
        if not self.is_short or len(self.notes) <= room:
            return [*self.notes, *self.legend]
        shown = self.notes[: max(room - 1, 0)]
        left = len(self.notes) - len(shown)
        return [*shown, *self.legend, f"{left} more note{'s' * (left > 1)}: --all"]

    def style(self, number: int) -> Style:
        """Return the style of the part of that number."""
        return self.styles.get(number, Style())
