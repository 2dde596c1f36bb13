"""Lay curves and their differences out as tables."""

from collections.abc import Iterator

from fsbench.results.studies.sweep.axes import WORDS
from fsbench.results.studies.sweep.curves import BEYOND, CurveTable
from fsbench.results.studies.sweep.differences import is_along
from fsbench.results.table import METHOD, Cell, Column, Form, Sheet, Table


def to_sheet(table: CurveTable) -> Sheet:
    """Lay out the scores, seconds and memory, a line per method and number, then a table of differences per metric."""
    return Sheet(table.title, [_scores(table), *_differences(table)], notes=table.notes, comparisons=table.comparisons)


def _scores(table: CurveTable) -> Table:
    has_costs = any(point.peak_mib or point.seconds for point in table.points)
    metrics = [name for name in table.metrics if name in table.shown_metrics]
    points = [(curve.method, point) for curve in table.curves for point in curve.points]
    numbers = [Cell(f"{point.number:g}", mark=BEYOND * bool(point.beyond)) for _, point in points]
    costs = [
        (Column("s/episode", Form.SIGNIFICANT, digits=3), [point.seconds for _, point in points]),
        (Column("MiB", Form.COUNT), [point.peak_mib for _, point in points]),
    ]
    return Table.from_columns(
        (METHOD, [method for method, _ in points]),
        (Column(WORDS[table.axis].symbol, Form.FIGURES), numbers),
        *(
            (
                Column(name, Form.FIGURE, metric=name, rank=int(name not in table.headlines)),
                [point.scores[name].estimate if name in point.scores else None for _, point in points],
            )
            for name in metrics
        ),
        *costs * has_costs,
        caption=f"by {WORDS[table.axis].label}",
    )


ALONG = "each point minus the one before it, and the last minus the first"
BETWEEN = "differences of methods at one number"
"""Captions of the differences."""


def _differences(table: CurveTable) -> Iterator[Table]:
    """Yield the differences along curves by metric, then those at one number."""
    symbol = Column(WORDS[table.axis].symbol, Form.FIGURES)
    for along in (True, False):
        for metric in table.headlines:
            found = [row for row in table.differences if (is_along(row), row.metric) == (along, metric)]
            numbers = symbol, [row.part for row in found]
            minus = (
                (Column("minus", Form.FIGURES), [row.minus_part for row in found])
                if along
                else (Column("minus", Form.NAME), [row.minus for row in found])
            )
            if found:
                yield Table.from_columns(
                    (METHOD, [row.method for row in found]),
                    *((numbers, minus) if along else (minus, numbers)),
                    (Column("difference", Form.DIFFERENCE, metric=metric), [row.estimate for row in found]),
                    (Column("corrected p", Form.CORRECTED), [row.corrected for row in found]),
                    caption=f"{metric}, {ALONG if along else BETWEEN}",
                )
