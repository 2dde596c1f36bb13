"""Lay out what the choice of the supports does as tables."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isnan

from fsbench.results.sheets.cells import CONDITIONAL
from fsbench.results.sheets.draws import draw_tables
from fsbench.results.studies.supports.sensitivity import CHOICES, PROPERTIES, SensitivityTable, SupportSensitivity
from fsbench.results.table import METHOD, Cell, Column, Form, Line, Sheet, Table, score_cell
from fsbench.scores.estimate import Estimate
from fsbench.scores.support_variance import COMPONENTS

GIVEN_SUPPORTS = (
    f"[low, high]{CONDITIONAL}: 95 % interval for other query images with these supports. Nothing follows for other "
    "supports"
)
"""Meaning of the mark of intervals here."""


def to_sheet(table: SensitivityTable) -> Sheet:
    """Lay out tables for printing: scores by draw, then what the choice of the supports does to single queries."""
    tables = draw_tables(table.draws, table.metrics)
    if table.lines:
        tables += [_choices(table.lines), _per_query(table.lines), _parts(table.lines), _properties(table.lines)]
    shown = [each for each in tables if each.lines]
    return Sheet(table.title, shown, notes=table.notes, signs={CONDITIONAL: GIVEN_SUPPORTS})


def _choices(methods: Sequence[SupportSensitivity]) -> Table:
    metric = methods[0].metric
    heads = ["draw 0", "all draws", f"best draw{CONDITIONAL}", f"worst draw{CONDITIONAL}"]
    columns = [Column(head, Form.SCORE, metric=metric) for head in heads]
    columns.insert(3, Column("best − draw 0", Form.DIFFERENCE, metric=metric))
    lines = []
    for line in methods:
        cells = [score_cell(line.scores[name]) for name in CHOICES]
        cells.insert(3, score_cell(line.gains["best draw"]))
        lines.append(Line([Cell(line.method), *cells]))
    return Table([METHOD, *columns], lines, f"{metric} by choice of the supports")


def _per_query(methods: Sequence[SupportSensitivity]) -> Table:
    heads = [f"worst{CONDITIONAL}", "mean", f"best{CONDITIONAL}"]
    columns = [*(Column(head, Form.NUMBER, digits=1) for head in heads), Column("best − mean", Form.FIGURE, digits=1)]
    lines = []
    for line in methods:
        scores = [*(line.per_query[name] for name in ("worst", "mean", "best")), line.gap]
        lines.append(Line([Cell(line.method), *map(score_cell, scores)]))
    return Table([METHOD, *columns], lines, "score of an episode, mean over queries, by draw of the supports")


def _parts(methods: Sequence[SupportSensitivity]) -> Table:
    """A part is its standard deviation in points and its share of the sum; both parts of the choice may be one."""
    columns = [METHOD, Column("part"), Column("deviation", Form.FIGURE, digits=1), Column("share", Form.SHARE)]
    lines = []
    for line in methods:
        if line.parts is not None:
            variances = {name: line.parts.variances[name] for name in COMPONENTS if name in line.parts.variances}
            for name, variance in (variances | {"choice": line.parts.choice}).items():
                share = line.parts.shares.get(name)
                cells = [score_cell(_deviation(variance)), score_cell(share and _each_end(share, _from_0_to_1))]
                lines.append(Line([Cell(line.method), Cell(name), *cells]))
        elif any(other.parts for other in methods):
            lines.append(Line([Cell(line.method), *[Cell()] * 3]))
    return Table(columns, lines, "parts of the variance of an episode's score")


def _properties(methods: Sequence[SupportSensitivity]) -> Table:
    columns = [METHOD, Column("property"), Column("rank correlation", Form.DIFFERENCE), Column("queries", Form.COUNT)]
    lines = [
        Line([Cell(line.method), Cell(name), Cell(line.properties[name].mean), Cell(line.properties[name].queries)])
        for line in methods
        for name in PROPERTIES
        if name in line.properties
    ]
    return Table(columns, lines, "what good supports have in common")


def _deviation(variance: Estimate) -> Estimate:
    """Return the square roots of a variance and its ends; a value below 0 has none.

    Scores from 0 to 100 have no part that deviates by more than 50.
    """
    return _each_end(variance, lambda end: min(max(end, 0.0) ** 0.5, MOST_DEVIATION))


def _from_0_to_1(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def _each_end(score: Estimate, change: Callable[[float], float]) -> Estimate:
    """Return a figure whose value and ends are changed; NaN stays."""
    value, low, high = (end if isnan(end) else change(end) for end in (score.value, score.low, score.high))
    return replace(score, value=value, low=low, high=high)


MOST_DEVIATION = 50.0
"""Largest standard deviation of scores from 0 to 100, those that are 0 and 100 with equal chances."""
