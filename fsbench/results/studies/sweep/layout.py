"""Lay curves and their differences out as tables, and list them for CSV."""

from collections.abc import Iterator, Sequence

from fsbench.results.rows.row import ResultRow
from fsbench.results.sheets.cells import MISSING, corrected_p, ends, moved
from fsbench.results.sheets.data import decimal
from fsbench.results.sheets.layout import Grid, Sheet, Style
from fsbench.results.sheets.names import shorten
from fsbench.results.studies.sweep.axes import WORDS
from fsbench.results.studies.sweep.curves import BEYOND, CurveTable
from fsbench.results.studies.sweep.differences import is_along
from fsbench.scores.estimate import Estimate


def to_sheet(table: CurveTable, width: int | None = None) -> Sheet:
    """Lay out the scores, seconds and memory, a row per method and number, then a grid of differences per metric."""
    narrow = width is not None and width < 100
    names = shorten([curve.method for curve in table.curves], (14, 20) if narrow else (24, 34))
    costs = ["s/episode", "MiB"] if any(p.peak_mib or p.seconds for p in table.points) else []
    shown = table.shown_metrics[: 2 if narrow else None]
    metrics = [name for name in table.metrics if name in shown]
    rows: Grid = [["method", WORDS[table.axis].symbol, *metrics, *costs]]
    for curve in table.curves:
        for point in curve.points:
            scores = [_figure(point.scores[name].estimate) if name in point.scores else MISSING for name in metrics]
            spent = [_number(point.seconds), _mib(point.peak_mib)] if costs else []
            number = f"{point.number:g}{BEYOND * bool(point.beyond)}"
            rows.append([names[curve.method], number, *scores, *spent])
    parts, styles = [(f"by {WORDS[table.axis].label}", rows)], [Style(words=1)]
    for along in (True, False):
        for metric in table.headlines:
            found = [row for row in table.differences if (is_along(row), row.metric) == (along, metric)]
            if found:
                parts.append(
                    (f"{metric}, {ALONG if along else BETWEEN}", _difference_grid(table, found, along, narrow))
                )
                styles.append(Style(words=1 if along else 2))
    return Sheet(table.title, parts, table.notes, dict(enumerate(styles)))


ALONG = "each point minus the one before it, and the last minus the first"
BETWEEN = "differences of methods at one number"
"""Captions of the differences."""


def _difference_grid(table: CurveTable, found: Sequence[ResultRow], along: bool, narrow: bool) -> Grid:
    names = shorten([curve.method for curve in table.curves], (12, 15) if narrow else (24, 34))
    symbol = WORDS[table.axis].symbol
    rows: Grid = [["method", *([symbol, "minus"] if along else ["minus", symbol]), "difference", "corrected p"]]
    for row in found:
        compared = [row.part, row.minus_part] if along else [names[row.minus], row.part]
        rows.append([names[row.method], *compared, moved(row.estimate, 2), corrected_p(row.corrected)])
    return rows


def _figure(score: Estimate) -> str:
    return f"{score.value:.2f} {ends(score, 1)}".rstrip()


def _number(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.3g}"


def _mib(mib: float | None) -> str:
    return "–" if mib is None else f"{mib:,.0f}"


COLUMNS = (
    "test", "axis", "method", "number", "metric", "value", "low", "high", "runs",
    "minus", "minus number", "p", "corrected p", "query images", "beyond the authors' rule", "holds for",
)  # fmt: skip


def lines(table: CurveTable) -> Iterator[Sequence[object]]:
    """List the scores and costs of every number, then the differences, under `COLUMNS`.

    The value of a difference is less `minus` at its number.
    """
    for curve in table.curves:
        for point in curve.points:
            where = [table.title, table.axis, curve.method, f"{point.number:g}"]
            runs, end = " ".join(point.runs), [*[""] * 5, point.beyond]
            for name, row in point.scores.items():
                yield [*where, name, *_ends(row.estimate), runs, *end, row.estimate.scope]
            for name, cost in (("seconds of an episode", point.seconds), ("peak memory MiB", point.peak_mib)):
                if cost is not None:
                    yield [*where, name, f"{cost:.6g}", "", "", runs, *end, ""]
    for row in table.differences:
        yield [
            row.test, table.axis, row.method, row.part, f"difference of {row.metric}",
            *_ends(row.estimate), "", row.minus, row.minus_part or row.part, decimal(row.estimate.p, ".6g"),
            decimal(row.corrected, ".6g"), row.estimate.queries, "", row.estimate.scope,
        ]  # fmt: skip


def _ends(score: Estimate) -> list[str]:
    return [decimal(value) for value in (score.value, score.low, score.high)]
