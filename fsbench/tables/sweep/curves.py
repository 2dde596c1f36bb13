"""Curves of score, time and memory by one number (see `axes`): runs that differ in it alone, side by side."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from fsbench.errors import SettingsError
from fsbench.metrics.bootstrap import RESAMPLES, Interval, intervals
from fsbench.records.grouping import comparable, fold_of, group_key, variants_of_groups
from fsbench.records.record import Record
from fsbench.tables.formats import word
from fsbench.tables.layout import Grid, Sheet, Style, shorten
from fsbench.tables.sweep.axes import AXES, WORDS, Axis

TOLD = frozenset(("image_size", "kept_support", "precision", "support_annotation"))
"""Entries of an identity by which runs of one method are two curves."""


@dataclass(frozen=True)
class CurvePoint:
    """A method at one number of an axis.

    Attributes:
        number: of shots, ways, pixels or percent.
        scores: by name of the metric, with intervals; mean over folds.
        seconds: of an episode, mean over folds; None where no episode was left to do.
        peak_mib: largest memory of the runs; None like `seconds`.
        runs: folders, one of each fold.
    """

    number: float
    scores: dict[str, Interval]
    seconds: float | None
    peak_mib: float | None
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """A method's points by ascending number."""

    method: str
    points: list[CurvePoint]


@dataclass(frozen=True)
class CurveTable:
    """Methods on tests that differ in one number alone.

    Attributes:
        title: what the tests have in common.
        axis: the number that differs, a key of `axes.WORDS`.
        metrics: names of scores, the headline first.
        nested: whether supports are the first of one draw, so that queries are the same for all numbers.
        devices: on which times and memory were measured.
        curves: the methods, that with the highest last score first.
        notes: what a reader must know.
    """

    title: str
    axis: str
    metrics: tuple[str, ...]
    nested: bool
    devices: tuple[str, ...]
    curves: list[Curve]
    notes: list[str]

    @property
    def numbers(self) -> list[float]:
        """All numbers of the axis, ascending."""
        return sorted({point.number for curve in self.curves for point in curve.points})


def curve_tables(records: Sequence[Record], axis: Axis | None = None, resamples: int = RESAMPLES) -> list[CurveTable]:
    """Collect curves as `found_tables` does.

    Raises:
        SettingsError: no tests of these runs differ in such a number alone.
    """
    tables = found_tables(records, axis, resamples)
    if not tables:
        names = ", ".join([axis] if axis else AXES)
        raise SettingsError(
            f"no two tests of these runs differ in one number alone ({names}); expected the runs of a grid over it: "
            f"{AXES[axis or 'shot'].example}"
        )
    return tables


def found_tables(records: Sequence[Record], axis: Axis | None = None, resamples: int = RESAMPLES) -> list[CurveTable]:
    """Collect curves, a table for each set of tests that differ in one number alone; maybe none.

    Args:
        records: finished runs.
        axis: the number; None for every one that differs.
        resamples: of the intervals' bootstrap.
    """
    return [table for each in AXES if axis in (None, each) for table in _tables(records, each, resamples)]


def _tables(records: Sequence[Record], axis: Axis, resamples: int) -> list[CurveTable]:
    families: dict[tuple[object, ...], list[list[Record]]] = {}
    for group in comparable(records):
        family = group_key(group[0], without=(axis,))
        if AXES[axis].of_episodes:
            families.setdefault(family, []).append(group)
        else:  # of one list of episodes: a curve for each group, split by the number
            families[*family, len(families)] = _split(group, axis)
    found = []
    for groups in families.values():
        if len({AXES[axis].number(group[0]) for group in groups}) > 1:
            found.append(_table(groups, axis, resamples))
    return [table for table in found if any(len(curve.points) > 1 for curve in table.curves)]


def _split(group: Sequence[Record], axis: Axis) -> list[list[Record]]:
    """Return the runs of each number of the axis, of methods that have several of them."""
    by_method: dict[str, dict[float, list[Record]]] = {}
    for record in group:
        numbers = by_method.setdefault(record.run.identity.method.name, {})
        numbers.setdefault(AXES[axis].number(record), []).append(record)
    parts: dict[float, list[Record]] = {}
    for numbers in by_method.values():
        for number, runs in numbers.items():
            if len(numbers) > 1:
                parts.setdefault(number, []).extend(runs)
    return [parts[number] for number in sorted(parts)] or [list(group)]


def _table(groups: list[list[Record]], axis: Axis, resamples: int) -> CurveTable:
    first = groups[0][0]
    metrics = first.protocol.default_metrics
    points: dict[str, list[CurvePoint]] = {}
    others = TOLD - {AXES[axis].setting}
    for group, labelled in zip(groups, variants_of_groups(groups, across=others), strict=True):
        for label, members in labelled.items():
            points.setdefault(label, []).append(_point(members, AXES[axis].number(group[0]), resamples))
    curves = [Curve(label, sorted(of_method, key=lambda point: point.number)) for label, of_method in points.items()]
    curves.sort(key=lambda curve: -curve.points[-1].scores[metrics[0]].value)
    records = [record for group in groups for record in group]
    devices = tuple(sorted({str(record.run.provenance.device) for record in records}))
    nested = first.header.nested_in is not None
    table = CurveTable(_title(first, axis), axis, metrics, nested, devices, curves, [])
    table.notes.extend(_notes(table))
    return table


def _title(record: Record, axis: Axis) -> str:
    """Return the title of the test without the number that differs."""
    title = record.protocol.title(record.header)
    if not AXES[axis].of_episodes:
        return title
    return title.replace(f"{AXES[axis].number(record)}-{axis}", f"{AXES[axis].symbol}-{axis}", 1)


def _point(records: Sequence[Record], number: float, resamples: int) -> CurvePoint:
    folds = sorted(records, key=fold_of)
    statistics = [record.protocol.statistics(record.episodes, record.header) for record in folds]
    costs = [record.run.cost for record in folds]
    rates = [cost.episodes_per_second for cost in costs if cost.episodes_per_second]
    peaks = [cost.peak_mib for cost in costs if cost.peak_mib is not None]
    return CurvePoint(
        number=number,
        scores=intervals(statistics, resamples),
        seconds=sum(1 / rate for rate in rates) / len(rates) if rates else None,
        peak_mib=max(peaks, default=None),
        runs=tuple(str(record.path) for record in folds),
    )


SAME_EPISODES = {
    "side": "the same episodes for every side; a protocol that counts pixels at the input counts others",
    "kept": "the same episodes for every share; of each support that share of the object is labelled, see "
    "--data.kept_support",
}
"""What the runs of a curve have in common, by axis."""


def _notes(table: CurveTable) -> list[str]:
    notes = ["[low, high]: 95 % interval, bootstrap over query images; scores in percent, means over folds"]
    if table.axis in SAME_EPISODES:
        notes.append(SAME_EPISODES[table.axis])
    elif table.nested and table.axis == "shot":
        notes.append("the same queries for every number of shots; supports are the first of one draw")
    elif table.axis == "shot":
        notes.append("every number of shots has episodes of its own; --data.nested_in 80 gives all the same queries")
    else:
        notes.append("with more ways a query has more classes to be told from; figures of different N are other tests")
    for curve in table.curves:
        missing = [f"{n:g}" for n in table.numbers if n not in {point.number for point in curve.points}]
        if missing:
            notes.append(
                f"{curve.method} has no run with {table.axis} {', '.join(missing)}: not run yet, or its rule ends "
                "before (fsbench grid says which)"
            )
    if len(table.devices) > 1:
        notes.append(f"time and memory are of different devices ({', '.join(table.devices)}) and cannot be compared")
    else:
        notes.append(f"seconds of an episode, loading included, and peak memory, measured on {table.devices[0]}")
    return notes


def to_sheet(table: CurveTable, width: int | None = None) -> Sheet:
    """Lay out a grid per metric, then seconds and memory: a row per method and number."""
    names = shorten(
        [curve.method for curve in table.curves], (14, 20) if width is not None and width < 100 else (24, 34)
    )
    costs = ["s/episode", "MiB"] if any(p.peak_mib or p.seconds for c in table.curves for p in c.points) else []
    head = ["method", WORDS[table.axis].symbol, *table.metrics[:2], *costs]
    if "accuracy" in table.metrics and width is not None and width >= 100 and "accuracy" not in head:
        head.insert(4, "accuracy")
    rows: Grid = [head]
    for curve in table.curves:
        for point in curve.points:
            scores = [
                _figure(point.scores[name]) if name in point.scores else "–"
                for name in head[2 : len(head) - len(costs)]
            ]
            spent = [_number(point.seconds), _mib(point.peak_mib)] if costs else []
            rows.append([names[curve.method], f"{point.number:g}", *scores, *spent])
    return Sheet(table.title, [("", rows)], table.notes, {0: Style(words=1)})


def _figure(interval: Interval) -> str:
    return f"{interval.value:.2f} [{interval.low:.1f}, {interval.high:.1f}]"


def _number(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.3g}"


def _mib(mib: float | None) -> str:
    return "–" if mib is None else f"{mib:,.0f}"


def to_csv(tables: Sequence[CurveTable]) -> str:
    """Write one line per number: test, axis, method, number, metric, value, low, high, runs."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["test", "axis", "method", "number", "metric", "value", "low", "high", "runs"])
    for table in tables:
        for curve in table.curves:
            for point in curve.points:
                where = [word(table.title), table.axis, word(curve.method), f"{point.number:g}"]
                runs = word(" ".join(point.runs))
                for name, score in point.scores.items():
                    ends = [f"{value:.4f}" for value in (score.value, score.low, score.high)]
                    writer.writerow([*where, name, *ends, runs])
                for name, cost in (("seconds of an episode", point.seconds), ("peak memory MiB", point.peak_mib)):
                    if cost is not None:
                        writer.writerow([*where, name, f"{cost:.6g}", "", "", runs])
    return out.getvalue()
