"""Write sheets as aligned text, Markdown or LaTeX, and what they were made of as CSV or JSON."""

import csv
import io
import json
import re
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fsbench.metrics.bootstrap import Interval
from fsbench.records.card import StatedCard
from fsbench.tables.blocks import MARKS, Block, Row
from fsbench.tables.breakdowns import to_sheet
from fsbench.tables.layout import Sheet
from fsbench.terminal import escape

NUMBER = re.compile(r"[+-]?[\d.]+( \[[-+\d., ]+\])?\*?")


Grid = Sequence[Sequence[str]]


def align(grid: Grid, rule: bool = True, words: int = 2) -> list[str]:
    """Align the cells of a grid in columns, words and then numbers; returns a line each.

    Args:
        grid: rows of cells, the head first.
        rule: put a line under the head.
        words: number of columns that hold words.
    """
    grid = [[escape(cell) for cell in row] for row in grid]
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
    lines = []
    for row in grid:
        cells = [c.ljust(w) if i < words else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]] if rule else lines


def markdown_row(cells: Sequence[str], bold: Collection[int] = ()) -> str:
    """Write a row of a Markdown table, with the cells whose numbers are in `bold` bold."""
    words = [escape(cell).replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(f"**{cell}**" if i in bold else cell for i, cell in enumerate(words)) + " |"


def markdown_table(grid: Grid, bold: Collection[tuple[int, int]] = ()) -> list[str]:
    """Write a grid, whose first row is the head, as the lines of a Markdown table; `bold` are its (row, column)."""
    rows = [markdown_row(row, [j for i, j in bold if i == number]) for number, row in enumerate(grid)]
    return [rows[0], "|" + "---|" * len(grid[0]), *rows[1:]]


def word(text: str) -> str:
    """Write a cell of CSV so that no spreadsheet takes it for a formula: names may be anybody's."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not NUMBER.fullmatch(text) else text


def render(blocks: list[Block], form: str, by: Sequence[str] = (), width: int | None = None, wrap: bool = False) -> str:
    """Write blocks in the format `form`, one of `FORMATS`.

    Args:
        blocks: CSV and JSON hold all that they have.
        form: name of the format.
        by: breakdowns of `to_sheet`.
        width: characters that the short table may take as text.
        wrap: wrap titles and notes to that width, too.
    """
    if form == "csv":
        return _csv(blocks)
    if form == "json":
        return as_json(blocks)
    if form == "text":
        return text([to_sheet(block, by, width) for block in blocks], width if wrap else None)
    return SHEETS[form]([to_sheet(block, by) for block in blocks])


def text(sheets: list[Sheet], width: int | None = None) -> str:
    """Write sheets as aligned text; titles and notes are wrapped to `width` characters, if that is given."""
    lines: list[str] = []
    for sheet in sheets:
        lines += [*_wrap(sheet.title, width), ""]
        for number, (caption, grid) in enumerate(sheet.parts):
            lines += [escape(caption)] if caption else []
            lines += [*align(grid, words=sheet.style(number).words), ""]
        lines += [line for note in sheet.notes for line in _wrap(f"* {note}", width, "  ")] + [""]
    return "\n".join(lines)


def _wrap(line: str, width: int | None, indent: str = "") -> list[str]:
    if width is None:
        return [escape(line)]
    return textwrap.wrap(
        escape(line), width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [""]


def markdown(sheets: list[Sheet]) -> str:
    """Write sheets as Markdown."""
    lines: list[str] = []
    for sheet in sheets:
        lines += [f"### {escape(sheet.title)}", ""]
        for number, (caption, grid) in enumerate(sheet.parts):
            lines += [f"*{escape(caption)}*", ""] if caption else []
            lines += [*markdown_table(grid, sheet.style(number).bold), ""]
        lines += [f"- {escape(note)}" for note in sheet.notes] + [""]
    return "\n".join(lines)


_LATEX = str.maketrans(
    {
        "_": r"\_",
        "%": r"\%",
        "&": r"\&",
        "#": r"\#",
        "–": "--",
        "…": r"\dots{}",
        "−": "$-$",
        "·": r"$\cdot$",
        ">": "$>$",
        "×": r"$\times$",
        "*": r"$^*$",
        "$": r"\$",
        "{": r"\{",
        "}": r"\}",
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        "\n": " ",
        "\r": " ",
        **{power: f"$^{number}$" for number, power in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
        **dict(
            zip(
                MARKS,
                (r"$^\dagger$", r"$^\ddagger$", r"\textsuperscript{\S}", r"\textsuperscript{\P}", r"$^\parallel$"),
                strict=True,
            )
        ),
    }
)


def latex(sheets: list[Sheet]) -> str:
    """Write sheets as LaTeX tables with the rules of the package booktabs."""
    lines: list[str] = []
    for sheet in sheets:
        lines += [_comment(sheet.title), r"% needs \usepackage{booktabs}"]
        for number, (caption, grid) in enumerate(sheet.parts):
            style = sheet.style(number)
            cells = [
                [rf"\textbf{{{tex(cell)}}}" if (i, j) in style.bold else tex(cell) for j, cell in enumerate(row)]
                for i, row in enumerate(grid)
            ]
            rows = [" & ".join(row) + r" \\" for row in cells]
            lines += [_comment(caption)] if caption else []
            lines.append(r"\begin{tabular}{" + "l" * style.words + "r" * (len(grid[0]) - style.words) + "}")
            lines += [r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}", ""]
        lines += [_comment(note) for note in sheet.notes] + [""]
    return "\n".join(lines)


def tex(cell: str) -> str:
    """Return a text with the characters that mean something to LaTeX escaped."""
    return cell.translate(_LATEX)


def _comment(text: str) -> str:
    return "% " + " ".join(text.splitlines())


def _csv(blocks: list[Block]) -> str:
    """Write one line per number: block, method, fold, part (all, a size, a class), metric, value, low, high, pairs,
    episodes, run, the block's notes, and the method's card.

    Of the part "reported", run is the source and the notes are the verdict."""

    def numbers(interval: Interval) -> list[str]:
        return [f"{value:.4f}" for value in (interval.value, interval.low, interval.high)]

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            "block",
            "method",
            "fold",
            "part",
            "metric",
            "value",
            "low",
            "high",
            "pairs",
            "episodes",
            "run",
            "notes",
            "card",
        ]
    )
    for block in blocks:
        notes = word("; ".join(block.notes))

        def card(method: str, cards: Mapping[str, StatedCard] = block.cards) -> str:
            return "; ".join(f"{k}: {v}" for k, v in cards[method].words.items()) if method in cards else ""

        def line(row: Row, title: str = block.title) -> list[str]:
            return [word(title), word(row.method), row.fold]

        for row in block.rows:
            costs = {
                "trainable parameters": row.trainable,
                "episodes/s": row.episodes_per_second,
                "peak memory MiB": row.peak_mib,
            }
            for metric, cost in costs.items():
                if cost is not None:
                    number = f"{cost:.10g}"
                    writer.writerow(
                        [*line(row), "all", metric, number, *[""] * 4, word(row.run), notes, card(row.method)]
                    )
            for metric, i in row.scores.items():
                writer.writerow(
                    [*line(row), "all", metric, *numbers(i), "", "", word(row.run), notes, card(row.method)]
                )
            for part, cell in (row.by_size | row.by_class).items():
                for metric, i in cell.scores.items():
                    counts = (cell.pairs, cell.episodes)
                    writer.writerow(
                        [*line(row), word(part), metric, *numbers(i), *counts, word(row.run), notes, card(row.method)]
                    )
        for item in block.published:
            r = item.reported
            value, verdict = f"{r.value:.{r.digits}f}", "; ".join([f"{r.stated}: {item.verdict}", *item.caveats])
            cells = [word(block.title), word(item.method), item.fold, "reported", item.metric]
            writer.writerow([*cells, value, *[""] * 4, r.source, verdict, card(item.method)])
    return out.getvalue()


def as_json(items: list[Any]) -> str:
    """Write dataclasses as JSON."""
    return json.dumps([asdict(item) for item in items], indent=2, ensure_ascii=False) + "\n"


SHEETS: dict[str, Callable[[list[Sheet]], str]] = {"text": text, "markdown": markdown, "latex": latex}
FORMATS = (*SHEETS, "csv", "json")
