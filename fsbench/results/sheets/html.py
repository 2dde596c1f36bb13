"""Sheets as HTML for notebooks, and the heads and cells that every page writes its tables of."""

from collections.abc import Sequence

from markupsafe import Markup, escape

from fsbench.base import terminal
from fsbench.protocols.reading import metric_named
from fsbench.results.sheets.cells import ends, write_cell, write_heads
from fsbench.results.sheets.fitting import cell_texts, fit
from fsbench.results.sheets.latex import tex
from fsbench.results.sheets.layout import Sheet as GridSheet
from fsbench.results.sheets.legend import foot
from fsbench.results.table import Cell, Column, Form, Sheet, Table

PLACES = {"best": Markup("<strong{}>{}</strong>"), "second": Markup("<u{}>{}</u>"), "": Markup("<span{}>{}</span>")}
"""Place of a figure -> the elements that show it."""


def html(sheets: Sequence[Sheet | GridSheet]) -> str:
    """Write sheets as HTML for a notebook, every name escaped."""
    parts: list[str] = []
    for sheet in sheets:
        shown = fit(sheet if isinstance(sheet, Sheet) else sheet.typed(), None).sheet
        parts.append(Markup("<h4>{}</h4>").format(shown.title))
        parts += [Markup("<p>{}</p>").format(words) for words in shown.lead]
        parts += map(table_html, shown.tables)
        parts += ["<ul>", *(Markup("<li>{}</li>").format(note) for note in foot(shown)), "</ul>"]
    return "\n".join(parts)


def table_html(table: Table) -> Markup:
    """Write a table as it is, without anything that a page's scripts need."""
    caption = Markup("<caption>{}</caption>").format(_printable(table.caption)) if table.caption else ""
    head = [
        Markup('<th scope="col"{}>{}</th>').format(attributes(title=column.meaning), _printable(word))
        for column, word in zip(table.columns, write_heads(table.columns), strict=True)
    ]
    lines = [
        "".join(
            Markup("<td{}>{}</td>").format(attributes(title=cell.note), _figure(text.strip(), cell))
            for cell, text in zip(line.cells, texts, strict=True)
        )
        for line, texts in zip(table.lines, zip(*cell_texts(table), strict=True), strict=True)
    ]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return Markup(f"<table>{caption}<thead><tr>{''.join(head)}</tr></thead><tbody>\n{body}\n</tbody></table>")


def _figure(text: str, cell: Cell) -> Markup:
    words = _printable(text)
    return Markup("<b>{}</b>").format(words) if cell.place == "best" else words


def head_html(column: Column) -> Markup:
    """Write the head of a column of figures that a reader orders, chooses and downloads."""
    is_error = bool(column.metric) and metric_named(column.metric).sign < 0
    return Markup("<th{}>{}</th>").format(
        attributes(
            scope="col",
            data_column=column.key,
            data_rank=column.rank,
            data_usual=column.usual,
            data_first="ascending" if is_error else "descending",
            data_tex=tex(column.head),
            title=column.meaning,
        ),
        _printable(column.head),
    )


def cell_html(cell: Cell, column: Column, *, has_letters: bool = False, bar: str = "") -> Markup:
    """Write a figure with its interval, as `head_html` writes its head.

    Args:
        cell: the figure.
        column: its column.
        has_letters: whether cells of the column have letters.
        bar: a drawing of the interval.
    """
    found = cell.estimate
    interval = found if found and found.has_interval else None
    known = attributes(
        data_column=column.key,
        class_="figure",
        data_value=cell.value,
        data_low=interval and interval.low,
        data_high=interval and interval.high,
        data_place=cell.place,
        title=cell.note,
    )
    number = PLACES[cell.place].format(Markup(' class="number"'), _printable(write_cell(cell, column)))
    letters = Markup("<sup>{}</sup>").format(cell.letters) if has_letters else ""
    return Markup("<td{}>{}{}{}{}</td>").format(known, number, letters, ends_html(cell, column), Markup(bar))


def ends_html(cell: Cell, column: Column) -> Markup:
    """Write the interval of a score behind it; nothing where there is none to tell of."""
    if cell.estimate is None or column.form is not Form.SCORE:
        return Markup("")
    words = ends(cell.estimate, metric_named(column.metric).digits())
    return Markup(' <span class="ends">{}</span>').format(words)


def attributes(**values: object) -> Markup:
    """Write the attributes of an element: those that are "", None or False are left out, True has no value."""
    known = {name.rstrip("_").replace("_", "-"): value for name, value in values.items()}
    return Markup("").join(
        Markup(" {}").format(name) if value is True else Markup(' {}="{}"').format(name, _printable(str(value)))
        for name, value in known.items()
        if value is not None and value is not False and value != ""
    )


def _printable(text: str) -> Markup:
    return escape(terminal.escape(text, "\n\t"))
