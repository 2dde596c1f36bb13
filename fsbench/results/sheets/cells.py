"""How the cells of a table are written: scores, intervals, differences, p-values and other numbers."""

from collections.abc import Sequence
from dataclasses import replace
from math import isnan
from typing import Literal

from fsbench.protocols.reading import metric_named
from fsbench.results.table import Cell, Column, Form
from fsbench.scores.decisions import ALPHA
from fsbench.scores.estimate import FEW_QUERIES, ROUNDING, Estimate, Scope

MARKS = "†‡§¶‖"
"""Signs of cards; letters are kept for methods that a test does not tell apart."""
MISSING = "–"
STAR = "*"
"""Mark of a corrected p-value that tells two methods apart."""
MOST_DIGITS = 9
"""Digits after the point beyond which nothing is printed, whatever rounding hides."""
CONDITIONAL = "°"
"""Mark of an interval that holds for the test's own supports alone."""


def write_cell(cell: Cell, column: Column) -> str:
    """Return the text of a table cell, without the sign (such as !) behind its value; "–" if the cell has no value.

    >>> write_cell(Cell(0.9312), Column("kept", Form.SHARE)), write_cell(Cell(12345), Column("pairs", Form.COUNT))
    ('93 %', '12,345')
    >>> write_cell(Cell(1234.5), Column("memory", Form.NUMBER, digits=0, unit=" MiB")), write_cell(Cell(), Column(""))
    ('1,234 MiB', '–')
    """
    value, found = cell.value, cell.estimate
    if isinstance(value, str):
        return value
    if value is None or isnan(value):
        return MISSING
    metric = cell.metric or column.metric
    digits = metric_named(metric).digits() if metric else column.digits
    match column.form:
        case Form.SCORE:
            return f"{value:.{digits}f}"
        case Form.INTERVAL:
            return (ends(found, digits) if found else "") or MISSING
        case Form.FIGURE:
            return f"{value:.{digits}f} {ends(found, digits) if found else ''}".rstrip()
        case Form.DIFFERENCE:
            return moved(found, digits) if found else f"{value:+.{digits}f}"
        case Form.P | Form.CORRECTED:
            return probability(value)
        case Form.COUNT:
            return f"{value:,.0f}"
        case Form.SIGNIFICANT:
            return f"{value:.{digits}g}{column.unit}"
        case Form.SHARE:
            percent = found and replace(found, low=100 * found.low, high=100 * found.high)
            return f"{100 * value:.0f} % {ends(percent, 0) if percent else ''}".rstrip()
    return f"{value:,.{column.digits}f}{column.unit}"


def cell_mark(cell: Cell, column: Column) -> str:
    """Return the sign behind a table cell, such as the star of a significant difference; "" if there is none."""
    is_apart = column.form is Form.CORRECTED and isinstance(cell.value, float) and cell.value < ALPHA
    return cell.mark or STAR * is_apart


def write_heads(columns: Sequence[Column]) -> list[str]:
    """Return the column headings; a short one where the column to the left belongs to the same metric."""
    left = ["", *(column.metric for column in columns)]
    return [
        column.short if column.short and column.metric == metric else column.head
        for column, metric in zip(columns, left, strict=False)
    ]


def probability(p: float) -> str:
    """Write a p-value, with more digits if rounding hides on which side of 0.05 it is; "–" if there is none."""
    if isnan(p):
        return MISSING
    if p < 0.001:
        return "<0.001"
    digits = 3
    while p < ALPHA <= float(f"{p:.{digits}f}") and digits < MOST_DIGITS:
        digits += 1
    return f"{p:.{digits}f}"


def rounded(value: float | None, metric: str) -> str:
    """Write a score without its interval; ROM and RUM, on a scale of 1, get a third digit."""
    return MISSING if value is None else f"{value:.{metric_named(metric).digits()}f}"


def figure(score: Estimate | None, metric: str) -> str:
    """Return a score with its interval as text, such as "61.23 [58.90, 63.41]".

    If there are too few images for an interval, the number of images stands in place of the interval. "–" if there is
    no score.
    """
    if score is None:
        return MISSING
    return " ".join(filter(None, (rounded(score.value, metric), ends(score, metric_named(metric).digits()))))


def ends(score: Estimate, digits: int) -> str:
    """Return a score's interval as "[low, high]", or the number of images if they are too few for one; else ""."""
    if score.has_interval:
        return f"[{score.low:.{digits}f}, {score.high:.{digits}f}]{mark(score)}"
    return few_images(score) if is_too_few(score) else ""


def moved(difference: Estimate, digits: int, separator: str = " ") -> str:
    """Return a difference with its interval as text, or with the reason why it has no interval."""
    value = f"{difference.value:+.{digits}f}"
    if difference.scope is Scope.IDENTICAL:
        return separator.join((value, "(identical)"))
    if difference.has_interval:
        low, high = (signed(end, digits) for end in (difference.low, difference.high))
        return separator.join((value, f"[{low}, {high}]{mark(difference)}"))
    return separator.join((value, few_images(difference))) if is_too_few(difference) else value


def multiple(number: float) -> str:
    """Write a factor such as 2.5 (how many times as many images) without powers of ten.

    >>> [multiple(number) for number in (0.01, 2.46, 73.4, 1400)]
    ['<0.1', '2.5', '73', '1,400']
    """
    return "<0.1" if number < 0.05 else f"{number:.1f}" if number < 9.95 else f"{number:,.0f}"


def signed(end: float, digits: int) -> str:
    """Write an end of a difference's interval with its sign, with more digits if rounding hides the side of 0."""
    while end != 0 and float(f"{end:.{digits}f}") == 0 and digits < MOST_DIGITS:
        digits += 1
    return f"{end:+.{digits}f}"


def amount(number: str, metric: str) -> str:
    """Write a number with the unit of its score, if it has one.

    >>> amount("1.20", "mIoU"), amount("1.20", "presence-CE2"), amount("0.012", "ROM")
    ('1.20 points', '1.20 squared points', '0.012')
    """
    return f"{number} {metric_named(metric).unit}".rstrip()


def is_too_few(score: Estimate) -> bool:
    """Return whether a score has no interval because of too few query images or supports.

    Query images are also too few if leaving out any one of them does not change the score.
    """
    if score.has_interval or score.scope is Scope.IDENTICAL:
        return False
    variance = sum(score.variances[:2])  # NaN of a figure that has no interval anyway
    is_constant = variance <= ROUNDING
    return score.scope is Scope.THESE_SUPPORTS or variance > ROUNDING or (is_constant and score.queries < FEW_QUERIES)


def few_images(score: Estimate) -> str:
    """Write the number of images, or of classes that stand for supports, that is too small for an interval."""
    is_share = score.scope is Scope.THESE_SUPPORTS or score.error == score.error  # only its ends are not known
    supports = score.classes or score.supports
    if not (is_share and 0 < supports < score.queries):
        return f"({score.queries} image{'s' * (score.queries != 1)})"
    if score.classes:
        return f"({supports} class{'es' * (supports != 1)})"
    return f"({supports} image{'s' * (supports != 1)})"


def mark(score: Estimate) -> str:
    """Return the sign behind an interval that holds only for the supports of this test; "" for other intervals."""
    return CONDITIONAL if score.has_interval and score.scope is Scope.THESE_SUPPORTS else ""


def places(
    cells: Sequence[str], scores: Sequence[Estimate | None], groups: Sequence[int], metric: str
) -> list[Literal["best", "second", ""]]:
    """Find the best and second-best cell of a column within each group of methods that is ranked together.

    A score without an interval is never marked, since it may be due to chance, but it still occupies its rank.

    Args:
        cells: scores as they are printed; equal texts have the same rank.
        scores: the scores themselves; None for an empty cell.
        groups: number of each row's group; only rows of one group are ranked together, and a row alone in its group is
            not marked.
        metric: the metric of the column.

    Returns:
        For each cell "best", "second" or "".
    """
    sign = metric_named(metric).sign
    named: list[Literal["best", "second", ""]] = [""] * len(cells)
    for group in dict.fromkeys(groups):
        known = {i: score for i, score in enumerate(scores) if score is not None and groups[i] == group}
        printed = list(dict.fromkeys(cells[i] for i in sorted(known, key=lambda i: -sign * known[i].value)))
        for i, score in known.items() if len(known) > 1 else ():
            if score.has_interval:
                named[i] = "best" if cells[i] == printed[0] else "second" if cells[i] == printed[1] else ""
    return named
