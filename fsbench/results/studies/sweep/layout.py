"""Lay curves and their differences out as tables."""

from collections.abc import Iterator

from fsbench.results.rows.row import ResultRow
from fsbench.results.studies.sweep.axes import WORDS
from fsbench.results.studies.sweep.curves import BEYOND, COSTS, CurveTable
from fsbench.results.studies.sweep.differences import is_along
from fsbench.results.table import METHOD, Cell, Column, Form, Line, Sheet, Table, score_cell


def to_sheet(table: CurveTable) -> Sheet:
    """Lay out tables for printing: scores, seconds and memory by method and number such as shots; differences."""
    return Sheet(table.title, [_scores(table), *_differences(table)], notes=table.notes, comparisons=table.comparisons)


def _scores(table: CurveTable) -> Table:
    has_costs = any(point.costs for point in table.points)
    metrics = [name for name in table.metrics if name in table.shown_metrics]
    columns = [
        METHOD,
        Column(WORDS[table.axis].symbol, Form.FIGURES),
        *(Column(name, Form.FIGURE, metric=name, rank=int(name not in table.headlines)) for name in metrics),
        *[Column("s/episode", Form.SIGNIFICANT, digits=3), Column("MiB", Form.COUNT)] * has_costs,
    ]
    lines = []
    for curve in table.curves:
        for point in curve.points:
            scores = [point.scores[name].estimate if name in point.scores else None for name in metrics]
            costs = [Cell(point.costs.get(kind)) for kind in COSTS] * has_costs
            number = Cell(f"{point.number:g}", mark=BEYOND * bool(point.beyond))
            lines.append(Line([Cell(curve.method), number, *map(score_cell, scores), *costs]))
    return Table(columns, lines, f"by {WORDS[table.axis].label}")


ALONG = "each point minus the one before it, and the last minus the first"
BETWEEN = "differences of methods at one number"
"""Captions of the differences."""


def _differences(table: CurveTable) -> Iterator[Table]:
    """Yield the differences along curves by metric, then those at one number."""
    symbol = Column(WORDS[table.axis].symbol, Form.FIGURES)
    for along in (True, False):
        heads = [symbol, Column("minus", Form.FIGURES)] if along else [Column("minus", Form.NAME), symbol]
        for metric in table.headlines:
            found = [row for row in table.differences if (is_along(row), row.metric) == (along, metric)]
            columns = [
                METHOD,
                *heads,
                Column("difference", Form.DIFFERENCE, metric=metric),
                Column("corrected p", Form.CORRECTED),
            ]
            if found:
                caption = f"{metric}, {ALONG if along else BETWEEN}"
                yield Table(columns, [_difference(row, along) for row in found], caption)


def _difference(row: ResultRow, along: bool) -> Line:
    compared = [row.part, row.minus_part] if along else [row.minus, row.part]
    return Line([Cell(row.method), *map(Cell, compared), score_cell(row.estimate), Cell(row.corrected)])
