"""Lay curves and their differences out as tables, and list them for CSV."""

from collections.abc import Iterator, Sequence

from fsbench.results.tables.formats import decimal
from fsbench.results.tables.layout import MISSING, Grid, Sheet, Style, corrected_p, ends, moved, shorten
from fsbench.results.tables.sweep.axes import WORDS
from fsbench.results.tables.sweep.curves import BEYOND, CurveTable
from fsbench.results.tables.sweep.differences import Kind, PointDifference
from fsbench.scores.estimate import Estimate


def to_sheet(table: CurveTable, width: int | None = None) -> Sheet:
    """Lay out the scores, seconds and memory, a row per method and number, then a grid of differences per metric."""
    narrow = width is not None and width < 100
    names = shorten([curve.method for curve in table.curves], (14, 20) if narrow else (24, 34))
    costs = ["s/episode", "MiB"] if any(p.peak_mib or p.seconds for c in table.curves for p in c.points) else []
    shown = table.shown_metrics[: 2 if narrow else None]
    metrics = [name for name in table.metrics if name in shown]
    rows: Grid = [["method", WORDS[table.axis].symbol, *metrics, *costs]]
    for curve in table.curves:
        for point in curve.points:
            scores = [_figure(point.scores[name]) if name in point.scores else MISSING for name in metrics]
            spent = [_number(point.seconds), _mib(point.peak_mib)] if costs else []
            number = f"{point.number:g}{BEYOND * bool(point.beyond)}"
            rows.append([names[curve.method], number, *scores, *spent])
    parts, styles = [(f"by {WORDS[table.axis].label}", rows)], [Style(words=1)]
    columns_of_words: dict[Kind, int] = {"along": 1, "between": 2}
    for kind, words in columns_of_words.items():
        for metric in table.headlines:
            lines = [each for each in table.differences if (each.kind, each.metric) == (kind, metric)]
            if lines:
                parts.append((f"{metric}, {CAPTIONS[kind]}", _difference_grid(table, lines, kind, narrow)))
                styles.append(Style(words=words))
    return Sheet(table.title, parts, table.notes, dict(enumerate(styles)))


CAPTIONS: dict[Kind, str] = {
    "along": "each point minus the one before it, and the last minus the first",
    "between": "differences of methods at one number",
}


def _difference_grid(table: CurveTable, lines: Sequence[PointDifference], kind: Kind, narrow: bool) -> Grid:
    names = shorten([curve.method for curve in table.curves], (12, 15) if narrow else (24, 34))
    symbol = WORDS[table.axis].symbol
    rows: Grid = [
        ["method", symbol, "minus", "difference", "corrected p"]
        if kind == "along"
        else ["method", "minus", symbol, "difference", "corrected p"]
    ]
    for line in lines:
        number = f"{line.number:g}"
        rows.append([
            names[line.method],
            *([number, f"{line.other_number:g}"] if kind == "along" else [names[line.other], number]),
            moved(line.difference, 2),
            corrected_p(line.corrected),
        ])  # fmt: skip
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
            for name, score in point.scores.items():
                yield [*where, name, *_ends(score), runs, *end, score.scope]
            for name, cost in (("seconds of an episode", point.seconds), ("peak memory MiB", point.peak_mib)):
                if cost is not None:
                    yield [*where, name, f"{cost:.6g}", "", "", runs, *end, ""]
    for line in table.differences:
        yield [
            table.title, table.axis, line.method, f"{line.number:g}", f"difference of {line.metric}",
            *_ends(line.difference), "", line.other, f"{line.other_number:g}", decimal(line.difference.p, ".6g"),
            decimal(line.corrected, ".6g"), line.difference.queries, "", line.difference.scope,
        ]  # fmt: skip


def _ends(score: Estimate) -> list[str]:
    return [decimal(value) for value in (score.value, score.low, score.high)]
