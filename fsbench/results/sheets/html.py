"""Sheets as HTML for notebooks, and the heads and cells that every page writes its tables of."""

from collections.abc import Sequence

from markupsafe import Markup, escape

from fsbench.base import terminal
from fsbench.protocols.reading import metric_named
from fsbench.results.sheets.cells import ends, write_cell, write_heads
from fsbench.results.sheets.fitting import cell_texts, fit
from fsbench.results.sheets.latex import tex
from fsbench.results.sheets.legend import foot
from fsbench.results.table import Cell, Column, Form, Sheet, Table

PLACES = {"best": Markup("<strong{}>{}</strong>"), "second": Markup("<u{}>{}</u>"), "": Markup("<span{}>{}</span>")}
"""Place of a figure -> the elements that show it."""


def html(sheets: Sequence[Sheet]) -> str:
    """Return sheets (tables with title and notes) as HTML for a notebook; HTML characters in names are escaped."""
    parts: list[str] = []
    for sheet in sheets:
        shown = fit(sheet, None).sheet
        parts.append(Markup("<h4>{}</h4>").format(shown.title))
        parts += [Markup("<p>{}</p>").format(words) for words in shown.lead]
        parts += map(table_html, shown.tables)
        parts += ["<ul>", *(Markup("<li>{}</li>").format(note) for note in foot(shown)), "</ul>"]
    return "\n".join(parts)


def table_html(table: Table) -> Markup:
    """Return a table, with its caption, as HTML."""
    caption = Markup("<caption>{}</caption>").format(_printable(table.caption)) if table.caption else ""
    return Markup("<table>{}{}</table>").format(caption, body_html(table))


def body_html(table: Table) -> Markup:
    """Return a table's heading and lines as HTML, with numbers in a form that scripts can sort."""
    head = [
        Markup('<th scope="col"{}>{}</th>').format(
            attributes(class_=_word(column), title=column.meaning), _printable(word)
        )
        for column, word in zip(table.columns, write_heads(table.columns), strict=True)
    ]
    lines = []
    for line, texts in zip(table.lines, zip(*cell_texts(table), strict=True), strict=True):
        first, *others = (
            (attributes(class_=_word(column), title=cell.note, data_value=_number(cell)), _words(text, cell))
            for cell, text, column in zip(line.cells, texts, table.columns, strict=True)
        )
        cells = [
            Markup('<th scope="row"{}>{}</th>').format(*first),
            *(Markup("<td{}>{}</td>").format(*c) for c in others),
        ]
        kind = attributes(class_="" if line.kind == "method" else line.kind)
        lines.append(Markup("<tr{}>{}</tr>").format(kind, Markup("").join(cells)))
    rows = Markup("").join(head), Markup("\n").join(lines)
    return Markup("<thead><tr>{}</tr></thead><tbody>\n{}\n</tbody>").format(*rows)


def _word(column: Column) -> str:
    """Return the class of columns whose words may take several lines."""
    return "word" if column.form is Form.NAME else ""


def _number(cell: Cell) -> float | None:
    return None if isinstance(cell.value, str) else cell.value


def _words(text: str, cell: Cell) -> Markup:
    return Markup("<b>{}</b>" if cell.place == "best" else "{}").format(_printable(text.strip()))


def head_html(column: Column) -> Markup:
    """Return a column heading as HTML, with attributes by which readers can sort, choose and download columns."""
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
    """Return a table cell with a score and its interval as HTML, with attributes for sorting and download.

    Args:
        cell: the cell to write.
        column: the column of the cell, which determines its digits and unit.
        has_letters: whether cells of this column have letters that group methods which are not told apart.
        bar: HTML of a drawing of the interval.
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
    return Markup("<td{}>{}{}</td>").format(known, score_html(cell, column, has_letters=has_letters), Markup(bar))


def score_html(cell: Cell, column: Column, *, has_letters: bool = False) -> Markup:
    """Return a score with its interval as HTML; methods that are not told apart share a letter behind the score."""
    words = write_cell(cell, column)
    unit = column.unit if words.endswith(column.unit) else ""
    number = PLACES[cell.place].format(Markup(' class="number"'), _printable(words.removesuffix(unit))) + unit
    letters = Markup("<sup>{}</sup>").format(cell.letters) if has_letters else ""
    if cell.estimate is None or column.form is not Form.SCORE:
        return number + letters
    words = ends(cell.estimate, metric_named(column.metric).digits())
    return number + letters + Markup(' <span class="ends">{}</span>').format(words)


def attributes(**values: object) -> Markup:
    """Return the attributes of an HTML element as text; "", None and False are left out, True has no value."""
    known = {name.rstrip("_").replace("_", "-"): value for name, value in values.items()}
    return Markup("").join(
        Markup(" {}").format(name) if value is True else Markup(' {}="{}"').format(name, _printable(str(value)))
        for name, value in known.items()
        if value is not None and value is not False and value != ""
    )


def _printable(text: str) -> Markup:
    return escape(terminal.escape(text, "\n\t"))
