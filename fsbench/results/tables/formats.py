"""Write sheets as aligned text, Markdown or LaTeX, and what they were made of as CSV or JSON."""

import csv
import io
import json
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, fields, is_dataclass
from html import escape as quote
from math import isnan
from typing import Any, TypeVar

from fsbench.base.terminal import escape
from fsbench.results.tables.blocks import MARKS, Block, Line
from fsbench.results.tables.breakdowns import to_sheet
from fsbench.results.tables.layout import Sheet
from fsbench.results.tables.rows import ALL, CLASS, MEAN, SIZE, ResultRow, rows_frame, scores_of
from fsbench.results.tables.side_by_side import side_by_side
from fsbench.scores.estimate import Estimate

NUMBER = re.compile(r"[+-]?[\d.]+(e[+-]\d+)?( \[[-+\d., ]+\]°?| \(\d+ (?:images?|class(?:es)?)\)| \(identical\))?\*?")

Grid = Sequence[Sequence[str]]
Item = TypeVar("Item")


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
    words = [escape(cell).strip().replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(f"**{cell}**" if i in bold else cell for i, cell in enumerate(words)) + " |"


def markdown_table(grid: Grid, bold: Collection[tuple[int, int]] = ()) -> list[str]:
    """Write a grid, whose first row is the head, as the lines of a Markdown table; `bold` are its (row, column)."""
    rows = [markdown_row(row, [j for i, j in bold if i == number]) for number, row in enumerate(grid)]
    return [rows[0], "|" + "---|" * len(grid[0]), *rows[1:]]


def word(text: str) -> str:
    """Write a cell of CSV so that no spreadsheet takes it for a formula: names may be anybody's."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not NUMBER.fullmatch(text) else text


def csv_text(lines: Iterable[Sequence[object]]) -> str:
    """Write lines of cells as CSV, words as `word` has them."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([word(cell) if isinstance(cell, str) else cell for cell in line] for line in lines)
    return out.getvalue()


def rows_csv(rows: Iterable[ResultRow]) -> str:
    """Write rows of results as CSV, with the columns of `fsbench.results.tables.rows.COLUMNS`."""
    frame = rows_frame(rows)
    return csv_text([frame.columns, *(["" if cell is None else cell for cell in row] for row in frame.rows())])


def decimal(value: float, form: str = ".4f") -> str:
    """Write a number of a CSV; "" for NaN, which stands for none."""
    return "" if isnan(value) else f"{value:{form}}"


def write_as(
    form: str,
    items: Sequence[Item],
    sheet: Callable[[Item, int | None], Sheet],
    to_csv: Callable[[Sequence[Item]], str],
    width: int | None = None,
    wrap: bool = False,
) -> str:
    """Write dataclasses in the format `form`, one of `FORMATS`.

    Args:
        form: name of the format.
        items: what is written; CSV and JSON hold all that they have.
        sheet: lays an item out, in `width` characters if that is given.
        to_csv: writes items as CSV.
        width: characters that a line may take as text.
        wrap: wrap titles and notes to that width, too.
    """
    if form == "csv":
        return to_csv(items)
    if form == "json":
        return as_json(items)
    if form == "text":
        return text([sheet(item, width) for item in items], width if wrap else None)
    return SHEETS[form]([sheet(item, None) for item in items])


def render(blocks: list[Block], form: str, by: Sequence[str] = (), width: int | None = None, wrap: bool = False) -> str:
    """Write blocks as `write_as` does, with the breakdowns `by` of `to_sheet`.

    Where there are several tests, one more table has the test as a column. CSV and JSON name it in every row or block.
    """
    if form == "json":
        return as_json([_values(block) for block in blocks])
    written = write_as(form, blocks, lambda block, room: to_sheet(block, by, room), _csv, width, wrap)
    together = side_by_side(blocks, width if form == "text" else None) if form in SHEETS else None
    if together is None:
        return written
    last = text([together], width if wrap else None) if form == "text" else SHEETS[form]([together])
    return f"{written}\n{last}"


def text(sheets: Sequence[Sheet], width: int | None = None) -> str:
    """Write sheets as aligned text; titles and notes are wrapped to `width` characters, if that is given."""
    lines: list[str] = []
    for sheet in sheets:
        lines += [*_wrap(sheet.title, width), ""]
        lines += [*(line for words in sheet.lead for line in _wrap(words, width, "  ")), ""] if sheet.lead else []
        for number, (caption, grid) in enumerate(sheet.parts):
            lines += [escape(caption)] if caption else []
            lines += [*align(grid, words=sheet.style(number).words), ""]
        lines += [line for note in sheet.foot for line in _wrap(f"* {note}", width, "  ")] + [""]
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
        lines += [*(f"- {escape(words)}" for words in sheet.lead), ""] if sheet.lead else []
        for number, (caption, grid) in enumerate(sheet.parts):
            lines += [f"*{escape(caption)}*", ""] if caption else []
            lines += [*markdown_table(grid, sheet.style(number).bold), ""]
        lines += [f"- {escape(note)}" for note in sheet.foot] + [""]
    return "\n".join(lines)


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
        "°": r"$^\circ$",
        "±": r"$\pm$",
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
        lines += [_comment(sheet.title), *map(_comment, sheet.lead), r"% needs \usepackage{booktabs}"]
        for number, (caption, grid) in enumerate(sheet.parts):
            style = sheet.style(number)
            cells = [
                [
                    rf"\textbf{{{tex(cell.strip())}}}" if (i, j) in style.bold else tex(cell.strip())
                    for j, cell in enumerate(row)
                ]
                for i, row in enumerate(grid)
            ]
            rows = [" & ".join(row) + r" \\" for row in cells]
            lines += [_comment(caption)] if caption else []
            lines.append(r"\begin{tabular}{" + "l" * style.words + "r" * (len(grid[0]) - style.words) + "}")
            lines += [r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}", ""]
        lines += [_comment(note) for note in sheet.foot] + [""]
    return "\n".join(lines)


def tex(cell: str) -> str:
    """Return a text with the characters that mean something to LaTeX escaped."""
    return cell.translate(_LATEX)


def _comment(text: str) -> str:
    return "% " + " ".join(text.splitlines())


COLUMNS = (
    "block", "method", "fold", "part", "metric", "value", "low", "high", "pairs", "episodes", "run", "notes", "card",
    "holds for", "query images",
)  # fmt: skip


def _csv(blocks: Sequence[Block]) -> str:
    return csv_text([COLUMNS, *(line for block in blocks for line in _lines(block))])


def _lines(block: Block) -> Iterator[list[object]]:
    """List the numbers of a block under `COLUMNS`, with the block's notes and the method's card.

    Of the part "reported", run is the source and the notes are the verdict.
    """
    notes = "; ".join([*block.lead, *block.warnings, *block.notes])
    cards = {name: "; ".join(f"{k}: {v}" for k, v in card.words.items()) for name, card in block.cards.items()}

    def numbers(score: Estimate) -> list[str]:
        return [decimal(value) for value in (score.value, score.low, score.high)]

    def bearing(score: Estimate) -> list[object]:
        return [str(score.scope) if score.has_interval else "", score.queries or ""]

    parts = {kind: _parts(block, kind) for kind in (SIZE, CLASS)}
    for (method, fold), scores in block.lines.items():
        run = block.runs[method, fold]
        start, end = [block.title, method, fold], [run, notes, cards.get(method, "")]
        for metric, cost in zip(
            ("trainable parameters", "episodes/s", "peak memory MiB"), _costs(block, run), strict=True
        ):
            if cost is not None:
                yield [*start, ALL, metric, f"{cost:.10g}", *[""] * 4, *end, "", ""]
        for metric, score in scores.items():
            yield [*start, ALL, metric, *numbers(score), "", "", *end, *bearing(score)]
        for part, rows in (parts[SIZE].get((method, fold), {}) | parts[CLASS].get((method, fold), {})).items():
            counts = [rows[0].pairs, rows[0].episodes]
            for metric, score in scores_of(rows).items():
                yield [*start, part, metric, *numbers(score), *counts, *end, *bearing(score)]
    for item in block.published:
        r = item.reported
        verdict = "; ".join([f"{r.stated}: {item.verdict}", *item.caveats])
        start = [block.title, item.method, item.fold]
        end = [r.source, verdict, cards.get(item.method, "")]
        yield [*start, "reported", item.metric, f"{r.value:.{r.digits}f}", *[""] * 4, *end, "", ""]


def _costs(block: Block, run: str) -> tuple[int | None, float | None, float | None]:
    """Return trainable parameters, episodes a second and peak MiB of a run; None where they are not known."""
    cost = block.costs.get(run)
    return (cost.trainable_parameters, cost.episodes_per_second, cost.peak_mib) if cost else (None, None, None)


def _parts(block: Block, kind: str) -> dict[Line, dict[str, list[ResultRow]]]:
    """Return the rows of each line by their part; a mean has the classes of its folds."""
    found = block.parts(kind)
    for method, fold in block.lines if kind == CLASS else ():
        if fold == MEAN:
            own = [parts for (name, _), parts in found.items() if name == method]
            found[method, MEAN] = {name: rows for parts in own for name, rows in parts.items()}
    return found


def _values(block: Block) -> dict[str, Any]:
    """Return what JSON says of a block: its fields, with its rows by method and fold."""
    kept = {one.name: getattr(block, one.name) for one in fields(block) if one.name not in ("costs", "blind")}
    sizes, classes = (
        {
            line: {
                name: {"pairs": rows[0].pairs, "episodes": rows[0].episodes, "scores": scores_of(rows)}
                for name, rows in parts.items()
            }
            for line, parts in _parts(block, kind).items()
        }
        for kind in (SIZE, CLASS)
    )
    kept["rows"] = [
        {
            "method": line[0],
            "fold": line[1],
            "scores": scores,
            "by_size": sizes.get(line, {}),
            "by_class": classes.get(line, {}),
            **dict(zip(("trainable", "episodes_per_second", "peak_mib"), _costs(block, block.runs[line]), strict=True)),
            "run": block.runs[line],
            "sees_supports": line[0] not in block.blind,
        }
        for line, scores in block.lines.items()
    ]
    return kept


def as_json(items: Sequence[Any]) -> str:
    """Write dataclasses, or values of JSON that hold some, as JSON; NaN, which stands for no number, is null."""
    return json.dumps(_plain(items), indent=2, ensure_ascii=False) + "\n"


def plain_score(score: Estimate) -> dict[str, Any]:
    """Return a score with its interval, and what that holds for, as values of JSON."""
    values: dict[str, Any] = _plain(score)
    return values


def _plain(value: Any) -> Any:
    """Return values of JSON: dataclasses as dicts, and None for NaN."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and isnan(value) else value


SHEETS: dict[str, Callable[[list[Sheet]], str]] = {"text": text, "markdown": markdown, "latex": latex}
FORMATS = (*SHEETS, "csv", "json")
