"""Sheets as HTML for a notebook."""

from collections.abc import Sequence
from html import escape as quote

from fsbench.results.sheets.layout import Sheet


def html(sheets: Sequence[Sheet]) -> str:
    """Write sheets as HTML for a notebook, every name escaped."""
    lines: list[str] = []
    for sheet in sheets:
        lines.append(f"<h4>{quote(sheet.title)}</h4>")
        lines += [f"<p>{quote(words)}</p>" for words in sheet.lead]
        for number, (caption, grid) in enumerate(sheet.parts):
            style = sheet.style(number)
            lines += ["<table>", f"<caption>{quote(caption)}</caption>"] if caption else ["<table>"]
            for i, row in enumerate(grid):
                tag = "td" if i else "th"
                cells = (f"<b>{quote(cell)}</b>" if (i, j) in style.bold else quote(cell) for j, cell in enumerate(row))
                lines.append("<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>")
            lines.append("</table>")
        lines += ["<ul>", *(f"<li>{quote(note)}</li>" for note in sheet.foot), "</ul>"]
    return "\n".join(lines)
