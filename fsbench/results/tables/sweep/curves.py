"""Curves of score, time and memory by one number (see `axes`): runs that differ in it alone, side by side."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan

from fsbench.base.errors import SettingsError
from fsbench.records.grouping import comparable, fold_of, group_key, variants_of_groups
from fsbench.records.record import Record
from fsbench.results.tables.layout import family_note, interval_notes
from fsbench.results.tables.sweep.axes import AXES, WORDS, Axis
from fsbench.results.tables.sweep.differences import PointDifference, Sample, correct, point_differences
from fsbench.scores.estimate import Estimate, estimates

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
        beyond: words that the authors' rule does not cover this number of shots; empty where it does.
        folds: of the runs; empty of a data set without folds.
    """

    number: float
    scores: dict[str, Estimate]
    seconds: float | None
    peak_mib: float | None
    runs: tuple[str, ...]
    beyond: str = ""
    folds: tuple[int, ...] = ()


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
        differences: between points that ask the same queries; see `point_differences`.
        notes: what a reader must know.
    """

    title: str
    axis: str
    metrics: tuple[str, ...]
    nested: bool
    devices: tuple[str, ...]
    curves: list[Curve]
    differences: list[PointDifference]
    notes: list[str]

    @property
    def headlines(self) -> list[str]:
        """The metrics that are drawn and tested: the first, and accuracy where there is one beside it."""
        return headlines(self.metrics)

    @property
    def shown_metrics(self) -> list[str]:
        """The metrics that a table shows, the last of which it may leave out: the headlines and the first two."""
        return list(dict.fromkeys([*self.headlines, *self.metrics[:2]]))

    @property
    def numbers(self) -> list[float]:
        """All numbers of the axis, ascending."""
        return sorted({point.number for curve in self.curves for point in curve.points})


def headlines(metrics: Sequence[str]) -> list[str]:
    """Return the first of some metrics, and accuracy where it is another of them."""
    return [metrics[0], *(name for name in metrics[1:] if name == "accuracy")]


def curve_tables(records: Sequence[Record], axes: Collection[Axis] = tuple(AXES)) -> list[CurveTable]:
    """Collect curves as `found_tables` does.

    Raises:
        SettingsError: no tests of these runs differ in such a number alone.
    """
    tables = found_tables(records, axes)
    if not tables:
        names = ", ".join(AXES[axis].word for axis in axes)
        raise SettingsError(
            f"no two tests of these runs differ in one number alone ({names}); expected the runs of a grid over it: "
            f"{AXES[next(iter(axes))].example}"
        )
    return tables


def found_tables(records: Sequence[Record], axes: Collection[Axis] = tuple(AXES)) -> list[CurveTable]:
    """Collect curves, a table for each set of tests that differ in one number alone; maybe none.

    The p-values of all of them are corrected together.

    Args:
        records: finished runs.
        axes: the numbers; those by which no runs differ have no table.
    """
    return corrected_tables([table for axis in AXES if axis in axes for table in _tables(records, axis)])


def corrected_tables(tables: Sequence[CurveTable]) -> list[CurveTable]:
    """Correct the p-values of all tables together, and say for how many comparisons a star holds."""
    corrected = correct([table.differences for table in tables], [table.metrics[0] for table in tables])
    comparisons = sum(not isnan(line.corrected) for lines in corrected for line in lines)
    return [
        replace(table, differences=lines, notes=[*table.notes, *difference_notes(lines, comparisons)])
        for table, lines in zip(tables, corrected, strict=True)
    ]


def _tables(records: Sequence[Record], axis: Axis) -> list[CurveTable]:
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
            table = _table(groups, axis)
            found += [table] if table else []
    return found


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


def _table(groups: list[list[Record]], axis: Axis) -> CurveTable | None:
    """Collect the curves of groups that differ in one number; None where no method has two of them."""
    first = groups[0][0]
    metrics = first.protocol.default_metrics
    samples: dict[str, list[Sample]] = {}
    others = TOLD - {AXES[axis].setting}
    for group, labelled in zip(groups, variants_of_groups(groups, across=others), strict=True):
        for label, members in labelled.items():
            folds = tuple(sorted(members, key=fold_of))
            statistics = [record.protocol.statistics(record.episodes, record.header) for record in folds]
            number = AXES[axis].number(group[0])
            samples.setdefault(label, []).append(Sample(label, number, folds, statistics))
    if all(len(of_method) == 1 for of_method in samples.values()):
        return None
    curves = []
    for label, of_method in samples.items():
        of_method.sort(key=lambda sample: sample.number)
        curves.append(Curve(label, [_point(sample) for sample in of_method]))
    last = {curve.method: curve.points[-1].scores.get(metrics[0]) for curve in curves}
    curves.sort(key=lambda curve: inf if (score := last[curve.method]) is None else -score.value)
    every = [sample for curve in curves for sample in samples[curve.method]]
    table = CurveTable(
        title=_title(first, axis),
        axis=axis,
        metrics=metrics,
        nested=first.header.nested_in is not None,
        devices=tuple(sorted({str(record.run.provenance.device) for group in groups for record in group})),
        curves=curves,
        differences=point_differences(every, headlines(metrics)),
        notes=[],
    )
    table.notes.extend(_notes(table))
    return table


def _title(record: Record, axis: Axis) -> str:
    """Return the title of the test without the number that differs."""
    title = record.protocol.title(record.header)
    if not AXES[axis].of_episodes:
        return title
    return title.replace(f"{AXES[axis].number(record)}-{axis}", f"{AXES[axis].symbol}-{axis}", 1)


def _point(sample: Sample) -> CurvePoint:
    costs = [record.run.cost for record in sample.records]
    rates = [cost.episodes_per_second for cost in costs if cost.episodes_per_second]
    peaks = [cost.peak_mib for cost in costs if cost.peak_mib is not None]
    has_folds = sample.records[0].header.folds > 1
    return CurvePoint(
        folds=tuple(map(fold_of, sample.records)) if has_folds else (),
        number=sample.number,
        scores=estimates(sample.statistics),
        seconds=sum(1 / rate for rate in rates) / len(rates) if rates else None,
        peak_mib=max(peaks, default=None),
        runs=tuple(str(record.path) for record in sample.records),
        beyond=next(
            (record.run.beyond_authors_rule for record in sample.records if record.run.beyond_authors_rule), ""
        ),
    )


BEYOND = "+"
"""Mark of points beyond the authors' rule."""
SAME_EPISODES = {
    "side": "the same episodes for every side; a protocol that counts pixels at the input counts others",
    "kept": "the same episodes for every share; of each support that share of the object is labelled, see "
    "--data.test.kept_support",
}
"""What the runs of a curve have in common, by axis."""


def _notes(table: CurveTable) -> list[str]:
    notes = score_notes(table.curves, table.shown_metrics)
    if table.axis in SAME_EPISODES:
        notes.append(SAME_EPISODES[table.axis])
    elif table.nested and table.axis == "shot":
        notes.append("the same queries for every number of shots; supports are the first of one draw")
    elif table.axis == "shot":
        notes.append("shots have episodes of their own; --data.test.nested_in 80 gives all numbers the same queries")
    else:
        notes.append("with more ways a query has more classes to be told from; figures of different N are other tests")
    for curve in table.curves:
        symbol = WORDS[table.axis].symbol
        for beyond in dict.fromkeys(point.beyond for point in curve.points if point.beyond):
            numbers = ", ".join(f"{point.number:g}" for point in curve.points if point.beyond == beyond)
            notes.append(f"{BEYOND} {curve.method} with {symbol} {numbers}: {beyond}")
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


def score_notes(curves: Sequence[Curve], metrics: Sequence[str]) -> list[str]:
    """Explain the intervals of the scores that are shown of the points of curves."""
    points = [point for curve in curves for point in curve.points]
    scores = [point.scores[name] for point in points for name in metrics if name in point.scores]
    return [*interval_notes(scores, metrics), "several folds: means over them"]


def difference_notes(differences: Sequence[PointDifference], comparisons: int) -> list[str]:
    """Explain the differences between points, and why there are none along curves.

    Args:
        differences: of a table.
        comparisons: number of comparisons that were corrected together, those of other tables included.
    """
    notes = []
    if not any(each.kind == "along" for each in differences):
        notes.append("the points of a curve are not of the same queries, so that no test compares them with each other")
    if differences:
        notes.append("differences: in points, of the same queries, with the 95 % interval of the difference itself")
        notes += [family_note(comparisons)] if comparisons else []
    return notes
