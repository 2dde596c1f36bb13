"""Fit tables to the width of a text: columns are left out by their ranks, and names are shortened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fsbench.results.sheets.cells import cell_mark, write_cell, write_heads
from fsbench.results.sheets.names import LEAST, shorten
from fsbench.results.table import Cell, Column, Form, Line, Sheet, Table

GAP = 2
"""Characters between two columns."""


@dataclass(frozen=True)
class Fitted:
    """Tables with titles and notes (a sheet), cut to the available width.

    Attributes:
        sheet: the sheet with only the columns that fit, and with method names shortened.
        left_out: headings of the columns that do not fit.
        names: lines "number, full name" that explain shortened names which differ only by a number.
    """

    sheet: Sheet
    left_out: Sequence[str] = ()
    names: Sequence[str] = ()


def fit(sheet: Sheet, width: int | None) -> Fitted:
    """Cut a sheet's tables to `width` characters by leaving out columns and shortening names; None means any width.

    Columns are left out until names have the room that they need (`Column.room`). If leaving out all columns that may
    be left out is not enough, names get at least 12 characters, and more for fsbench's own labels if possible. Names
    otherwise get the width that is left; in a table that is too wide anyway they stay whole.
    """
    usual = replace(sheet, tables=[_choose(table, _usual(table)) for table in sheet.tables])
    if width is None:
        return Fitted(usual)
    names = dict.fromkeys(name for table in usual.tables for of_column in _names(table).values() for name in of_column)
    numbers = {name: number for number, name in enumerate(names, 1)}
    left_out: dict[str, None] = {}
    short: dict[str, str] = {}
    tables = []
    for table in usual.tables:
        places = _fitting(table, width)
        heads = write_heads(table.columns)
        left_out |= dict.fromkeys(head for place, head in enumerate(heads) if place not in places)
        fitted, of_table = _shorten(_choose(table, places), width, numbers)
        short |= of_table
        tables.append(fitted)
    numbered = [f"{numbers[name]}: {name}" for name in names if short.get(name, "").startswith(f"{numbers[name]}: ")]
    return Fitted(replace(usual, tables=tables), list(left_out), numbered)


def cell_texts(table: Table) -> list[list[str]]:
    """Return, for each column of a table, the texts of its cells, padded so that signs behind them align."""
    texts = []
    for column, cells in zip(table.columns, _by_column(table), strict=True):
        marks = [cell_mark(cell, column) for cell in cells]
        room = 0 if column.is_words else max(map(len, marks), default=0)
        texts.append([write_cell(cell, column) + mark.ljust(room) for cell, mark in zip(cells, marks, strict=True)])
    return texts


def _usual(table: Table) -> list[int]:
    return [place for place, column in enumerate(table.columns) if column.usual]


def _choose(table: Table, places: Sequence[int]) -> Table:
    """Return a table with some of its columns."""
    lines = [replace(line, cells=[line.cells[place] for place in places]) for line in table.lines]
    return replace(table, columns=[table.columns[place] for place in places], lines=lines)


def _by_column(table: Table) -> list[list[Cell]]:
    return [[line.cells[place] for line in table.lines] for place in range(len(table.columns))]


def _names(table: Table) -> dict[int, list[str]]:
    """Return the names in each column of names: its place -> the names."""
    cells = list(_by_column(table))
    return {
        place: [str(cell.value) for cell in cells[place]]
        for place, column in enumerate(table.columns)
        if column.form is Form.NAME
    }


def _fitting(table: Table, width: int) -> list[int]:
    """Choose the places of the columns that fit.

    Columns go in the order of their ranks. Where all of the highest rank had to go, others come back as far as there
    is room.
    """
    texts = cell_texts(table)
    ranks = [column.rank for column in table.columns]
    longest = _longest(table, texts)
    last = max(ranks, default=0)
    for most in ({place: table.columns[place].room for place in longest}, _least_with_labels(table)):
        enough = sum(min(length, most[place]) for place, length in longest.items())
        for rank in range(last + 1):
            places = [place for place, own in enumerate(ranks) if own == 0 or own > rank]
            if _room(table.columns, texts, places, width) < enough:
                continue
            for again in range(min(rank, last - 1), 0, -1):
                more = [place for place, own in enumerate(ranks) if place in places or own == again]
                if _room(table.columns, texts, more, width) >= enough:
                    places = more
            return places
    return places


def _longest(table: Table, texts: Sequence[Sequence[str]]) -> dict[int, int]:
    """Return the characters that each column of names needs for whole names."""
    return {place: max(map(len, [table.columns[place].head, *texts[place]])) for place in _names(table)}


def _least(table: Table) -> dict[int, int]:
    """Return the least room for each column of names with their marks: no name is cut below `LEAST` characters."""
    cells = _by_column(table)
    return {place: LEAST + max((len(cell.mark) for cell in cells[place]), default=0) for place in _names(table)}


def _least_with_labels(table: Table) -> dict[int, int]:
    """Return the least room for each column of names in which the suite's own labels are whole."""
    labels = [line for line in table.lines if line.kind in ("best answer", "count")]
    return {
        place: max([least, *(len(str(line.cells[place].value)) + len(line.cells[place].mark) for line in labels)])
        for place, least in _least(table).items()
    }


def _room(columns: Sequence[Column], texts: Sequence[Sequence[str]], places: Sequence[int], width: int) -> int:
    """Return the characters that the other columns leave for names."""
    heads = write_heads([columns[place] for place in places])
    others = [
        max(map(len, [head, *texts[place]]))
        for head, place in zip(heads, places, strict=True)
        if columns[place].form is not Form.NAME
    ]
    return width - sum(others) - GAP * (len(places) - 1)


def _shorten(table: Table, width: int, numbers: Mapping[str, int]) -> tuple[Table, dict[str, str]]:
    """Shorten the names of a table to the room for them: a column that needs less than its share leaves the rest."""
    texts = cell_texts(table)
    room = _room(table.columns, texts, range(len(table.columns)), width)
    longest = _longest(table, texts)
    for least in (_least_with_labels(table), _least(table)):
        if room >= sum(min(length, least[place]) for place, length in longest.items()):
            break
    else:
        return table, {}  # it is too wide with any names
    found: dict[str, str] = {}
    columns: dict[int, dict[str, str]] = {}
    for left, (place, length) in enumerate(sorted(longest.items(), key=lambda item: item[1])):
        own = min(length, max(room // (len(longest) - left), least[place]))
        room -= own
        cells = [line.cells[place] for line in table.lines]
        longer = [cell for cell in cells if len(str(cell.value)) + len(cell.mark) > own]
        room_of_name = max(own - max((len(cell.mark) for cell in longer), default=0), LEAST)
        columns[place] = shorten([str(cell.value) for cell in longer], (room_of_name,), numbers)
        found |= columns[place]
    lines = [_rename(line, columns) for line in table.lines]
    return replace(table, lines=lines), found


def _rename(line: Line, names: Mapping[int, Mapping[str, str]]) -> Line:
    """Return a line with short names: place -> name -> short name."""
    cells = [
        replace(cell, value=names[place].get(str(cell.value), cell.value)) if place in names else cell
        for place, cell in enumerate(line.cells)
    ]
    return replace(line, cells=cells)
