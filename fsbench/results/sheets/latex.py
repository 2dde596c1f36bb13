"""Sheets as LaTeX tables."""

from collections.abc import Sequence

from fsbench.results.sheets.cells import MARKS, write_heads
from fsbench.results.sheets.fitting import cell_texts, fit
from fsbench.results.sheets.legend import foot
from fsbench.results.table import Sheet, Table

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


def latex(sheets: Sequence[Sheet]) -> str:
    """Return sheets (tables with title and notes) as LaTeX tables with captions, for the package booktabs."""
    lines: list[str] = []
    for sheet in sheets:
        shown = fit(sheet, None).sheet
        lines += [_comment(shown.title), *map(_comment, shown.lead), r"% needs \usepackage{booktabs}"]
        for table in shown.tables:
            lines += [*_table_lines(table, ": ".join(filter(None, (shown.title, table.caption)))), ""]
        lines += [*map(_comment, foot(shown)), ""]
    return "\n".join(lines)


def _table_lines(table: Table, caption: str) -> list[str]:
    """Write a table, the best figure of each column bold."""
    texts = zip(*cell_texts(table), strict=True)
    rows = [
        [rf"\textbf{{{tex(text.strip())}}}" if cell.place == "best" else tex(text.strip()) for cell, text in pairs]
        for pairs in (zip(line.cells, row, strict=True) for line, row in zip(table.lines, texts, strict=True))
    ]
    head, *rest = [" & ".join(row) + r" \\" for row in [list(map(tex, write_heads(table.columns))), *rows]]
    form = "".join("l" if column.is_words else "r" for column in table.columns)
    return [
        *(r"\begin{table}", r"\centering", rf"\caption{{{tex(caption)}}}", rf"\begin{{tabular}}{{{form}}}"),
        *(r"\toprule", head, r"\midrule", *rest, r"\bottomrule", r"\end{tabular}", r"\end{table}"),
    ]


def tex(cell: str) -> str:
    """Return a text with LaTeX's special characters escaped."""
    return cell.translate(_LATEX)


def _comment(text: str) -> str:
    return "% " + " ".join(text.splitlines())
