"""Sheets as LaTeX tables."""

from fsbench.results.sheets.cells import MARKS
from fsbench.results.sheets.layout import Sheet

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
