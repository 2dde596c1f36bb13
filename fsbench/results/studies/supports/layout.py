"""Lay out what the choice of the supports does as tables, and write it as CSV."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import isnan

from fsbench.results.sheets.cells import CONDITIONAL, ends, moved
from fsbench.results.sheets.data import decimal
from fsbench.results.sheets.layout import Grid, Sheet, Style
from fsbench.results.sheets.names import shorten
from fsbench.results.studies.supports.sensitivity import CHOICES, PROPERTIES, SensitivityTable, SupportSensitivity
from fsbench.scores.estimate import Estimate
from fsbench.scores.support_variance import COMPONENTS


def to_sheet(table: SensitivityTable, width: int | None = None) -> Sheet:
    """Lay out scores by choice of the supports, parts of the variance and properties.

    Names of methods are shortened, and the official draw's interval is left out, until the tables take `width`
    characters as text, if that is given.
    """
    names = {line.method: line.method for line in table.lines}
    if width is not None:
        names = shorten(names, (12, 18, 24) if width < 100 else (24, 34))
    metric = table.lines[0].metric
    parts: list[tuple[str, Grid]] = [
        (f"{metric} by choice of the supports", _choices(table.lines, names)),
        ("score of an episode, mean over queries, by draw of the supports", _per_query(table.lines, names)),
    ]
    if any(line.parts for line in table.lines):
        parts.append(("parts of the variance of an episode's score", _parts(table.lines, names)))
    if any(line.properties for line in table.lines):
        parts.append(("what good supports have in common", _properties(table.lines, names)))
    styles = {number: Style(words=2 if number > 1 else 1) for number in range(len(parts))}
    return Sheet(table.title, parts, table.notes, styles)


def _choices(lines: Sequence[SupportSensitivity], names: dict[str, str]) -> Grid:
    rows = [["method", "draw 0", "all draws", f"best draw{CONDITIONAL}", "best − draw 0", f"worst draw{CONDITIONAL}"]]
    for line in lines:
        plain = [f"{line.scores[name].value:.2f}" for name in CHOICES]
        gain = line.gains["best draw"]
        rows.append([names[line.method], *plain[:3], moved(gain, 2), plain[3]])
    return rows


def _per_query(lines: Sequence[SupportSensitivity], names: dict[str, str]) -> Grid:
    rows = [["method", f"worst{CONDITIONAL}", "mean", f"best{CONDITIONAL}", "best − mean"]]
    for line in lines:
        cells = [f"{line.per_query[name].value:.1f}" for name in ("worst", "mean", "best")]
        rows.append([names[line.method], *cells, _plain(line.gap, 1)])
    return rows


def _parts(lines: Sequence[SupportSensitivity], names: dict[str, str]) -> Grid:
    """A part is its standard deviation in points and its share of the sum; both parts of the choice may be one."""
    rows = [["method", "part", "deviation", "share"]]
    for line in lines:
        if line.parts is None:
            rows.append([names[line.method], "–", "–", "–"])
            continue
        for name in COMPONENTS:
            if name in line.parts.variances:
                share = line.parts.shares.get(name)
                cell = "–" if share is None else _percent(share)
                rows.append([names[line.method], name, _plain(_deviation(line.parts.variances[name]), 1), cell])
        rows.append([names[line.method], "choice", _plain(_deviation(line.parts.choice), 1), "–"])
    return rows


def _properties(lines: Sequence[SupportSensitivity], names: dict[str, str]) -> Grid:
    rows = [["method", "property", "rank correlation", "queries"]]
    for line in lines:
        for name in PROPERTIES:
            if name in line.properties:
                found = line.properties[name]
                rows.append([names[line.method], name, f"{found.mean:+.2f}", f"{found.queries:,}"])
    return rows


def _deviation(variance: Estimate) -> Estimate:
    """Return the square roots of a variance and its ends; an estimate below 0 stands for none.

    Scores from 0 to 100 have no part that deviates by more than 50.
    """
    return _each_end(variance, lambda end: min(max(end, 0.0) ** 0.5, MOST_DEVIATION))


def _percent(share: Estimate) -> str:
    inside = _each_end(share, lambda end: 100 * min(max(end, 0.0), 1.0))
    return f"{inside.value:.0f} % {ends(inside, 0)}".rstrip()


def _each_end(score: Estimate, change: Callable[[float], float]) -> Estimate:
    """Return a figure whose value and ends are changed; NaN stays."""
    value, low, high = (end if isnan(end) else change(end) for end in (score.value, score.low, score.high))
    return replace(score, value=value, low=low, high=high)


def _plain(score: Estimate, digits: int) -> str:
    return f"{score.value:.{digits}f} {ends(score, digits)}".rstrip()


MOST_DEVIATION = 50.0
"""Largest standard deviation of scores from 0 to 100, those that are 0 and 100 with equal chances."""
COLUMNS = ("test", "method", "kind", "name", "value", "low", "high", "queries", "runs", "holds for")


def lines(table: SensitivityTable) -> Iterator[Sequence[object]]:
    """List the numbers of a table under `COLUMNS`, a line each."""
    for line in table.lines:
        numbers: list[tuple[str, str, Estimate, str]] = [
            (f"{line.metric} of a choice", name, value, "") for name, value in line.scores.items()
        ]
        numbers += [("difference to draw 0", name, value, "") for name, value in line.gains.items()]
        numbers += [("episode's score", f"{name} draw", value, "") for name, value in line.per_query.items()]
        numbers.append(("episode's score", "best − mean", line.gap, ""))
        if line.parts is not None:
            queries = str(line.parts.queries)
            numbers += [("variance", name, value, queries) for name, value in line.parts.variances.items()]
            numbers += [("share", name, value, queries) for name, value in line.parts.shares.items()]
            numbers.append(("variance", "choice", line.parts.choice, queries))
        numbers += [
            ("rank correlation", name, Estimate(found.mean), str(found.queries))
            for name, found in line.properties.items()
        ]
        for kind, name, score, queries in numbers:
            shown = [decimal(value, ".6g") for value in (score.value, score.low, score.high)]
            yield [table.title, line.method, kind, name, *shown, queries, " ".join(line.runs), score.scope]
