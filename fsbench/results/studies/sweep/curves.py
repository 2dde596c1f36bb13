"""Curves of score, time and memory by one number (see `axes`): runs that differ in it alone, side by side."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from fsbench.base.errors import SettingsError
from fsbench.protocols.words import number_of
from fsbench.records.grouping import all_runs, comparable, group_key, names_of_tests, variants_of_groups
from fsbench.records.record import Record
from fsbench.results.costs import PLOTTED
from fsbench.results.rows.points import Point, PointTable, correct_tables
from fsbench.results.rows.row import KEPT, SHOTS, SIDE, ResultRow
from fsbench.results.rows.scoring import Request, Sums
from fsbench.results.studies.sweep.axes import AXES, WORDS
from fsbench.results.studies.sweep.differences import curve_differences, is_along
from fsbench.scores.estimate import Estimate

TOLD = frozenset(("image_size", "kept_support", "precision", "support_annotation"))
"""Entries of an identity by which runs of one method are two curves."""
COSTS = ("seconds", "memory")
"""Costs of a point, of those in `PLOTTED`."""


@dataclass(frozen=True)
class CurvePoint:
    """Scores and cost of a method at one value of a number such as shots.

    Attributes:
        number: the value of the number on the x axis: of shots, ways, pixels of an image's side, percent or objects.
        scores: {metric: mean over folds, with interval}.
        runs: folders of the runs, one for each fold.
        folds: numbers of the folds of the runs; empty for a data set without folds.
        seconds: seconds per episode, mean over folds; None if unknown because runs were resumed when complete, or if
            only a part of the runs is scored.
        peak_mib: largest peak memory of the runs in MiB; None if unknown, as for `seconds`.
        beyond: why the authors' rule for several shots does not cover this number of shots; "" if it does.
    """

    number: float
    scores: dict[str, ResultRow]
    runs: tuple[str, ...]
    folds: tuple[int, ...] = ()
    costs: Mapping[str, float] = field(default_factory=dict)
    beyond: str = ""

    @property
    def rows(self) -> list[ResultRow]:
        """Result rows of the point's scores, then of its costs as far as they are known."""
        known = [(PLOTTED[kind].name, Estimate(cost)) for kind, cost in self.costs.items()]
        scores = list(self.scores.values())
        return [*scores, *(replace(row, metric=name, estimate=cost) for row in scores[:1] for name, cost in known)]


@dataclass(frozen=True)
class Curve:
    """Scores of a method at ascending values of a number such as shots."""

    method: str
    points: list[CurvePoint]


@dataclass(frozen=True)
class CurveTable(PointTable):
    """Scores of several methods at several values of a number such as shots, which is all that differs between tests.

    That number is all in which the tests differ. The `differences` are between points with the same queries; see
    `curve_differences`.

    Attributes:
        axis: the number that differs, a key of `axes.WORDS` such as "shots".
        curves: one curve per method, the highest score first.
        nested: whether fewer supports are always the first ones of the same draw, so that queries are the same for all
            numbers.
        shots_note: what the tests of a curve over shots have in common otherwise.
        devices: names of the devices on which times and memory were measured.
    """

    axis: str
    curves: list[Curve]
    nested: bool = False
    shots_note: str = ""
    devices: tuple[str, ...] = ()

    @property
    def headlines(self) -> list[str]:
        """Metrics that are plotted and tested: the first one, and accuracy if there is one."""
        return headlines(self.metrics)

    @property
    def shown_metrics(self) -> list[str]:
        """Metrics that the printed table has: those that are plotted, and the first two."""
        return list(dict.fromkeys([*self.headlines, *self.metrics[:2]]))

    @property
    def numbers(self) -> list[float]:
        """All values of the number on the x axis (such as shots) that a curve has, ascending."""
        return sorted({point.number for point in self.points})

    @property
    def points(self) -> list[CurvePoint]:
        """Points of all curves, curve by curve."""
        return [point for curve in self.curves for point in curve.points]

    @property
    def rows(self) -> list[ResultRow]:
        """Result rows of the scores and costs of all points, then of all differences."""
        return [*(row for point in self.points for row in point.rows), *self.differences]


def headlines(metrics: Sequence[str]) -> list[str]:
    """Return the first metric, followed by accuracy if that is a later one of `metrics`."""
    return [metrics[0], *(name for name in metrics[1:] if name == "accuracy")]


def curve_tables(
    records: Sequence[Record], axes: Collection[str] = tuple(AXES), asked: Request = Request(())
) -> list[CurveTable]:
    """Collect scores by numbers such as shots, a table for each set of tests that differ in one number.

    Args:
        records: finished runs.
        axes: names of the numbers to look for; numbers in which no runs differ have no table.
        asked: the scores to compute; without names, those of the protocol.

    Raises:
        SettingsError: no tests of these runs differ only in such a number.
    """
    tables = found_tables(records, axes, asked)
    if not tables:
        raise SettingsError(
            f"no two tests of these runs differ in one number alone ({', '.join(axes)}); expected the runs of a grid "
            f"over it: {AXES[next(iter(axes))].example}. If two tests have the same number but other images or "
            "episodes, give the runs of one of the two tests"
        )
    return tables


def found_tables(
    records: Sequence[Record], axes: Collection[str] = tuple(AXES), asked: Request = Request(())
) -> list[CurveTable]:
    """Collect scores by numbers such as shots, a table for each set of tests that differ in one; empty if none do.

    The p-values of all tables are corrected together.

    Args:
        records: finished runs.
        axes: names of the numbers to look for; numbers in which no runs differ have no table.
        asked: the scores to compute; without names, those of the protocol.
    """
    return correct_tables([table for axis in AXES if axis in axes for table in _tables(records, axis, asked)])


def _tables(records: Sequence[Record], axis: str, asked: Request) -> list[CurveTable]:
    families: dict[tuple[object, ...], list[list[Record]]] = {}
    for group in comparable(records):
        family = group_key(group[0], without=(AXES[axis].entry,))
        if AXES[axis].of_episodes:
            families.setdefault(family, []).append(group)
        else:  # of one list of episodes: a curve for each group, split by the number
            families[*family, len(families)] = _split(group, axis)
    told = [_told_apart(groups, axis) for groups in families.values()]
    several = [own for own in told if len(own) > 1]
    firsts = [groups[0] for groups in several]
    names = names_of_tests(firsts, [_title(group[0], axis) for group in firsts])
    found = (_table(groups, axis, replace(asked, test=name)) for groups, name in zip(several, names, strict=True))
    return [table for table in found if table is not None]


def _told_apart(groups: list[list[Record]], axis: str) -> list[list[Record]]:
    """Return the groups whose number no other has: of two tests with one number, neither is known to be the others'."""
    numbers = [AXES[axis].number(group[0]) for group in groups]
    return [group for group, number in zip(groups, numbers, strict=True) if numbers.count(number) == 1]


def _split(group: Sequence[Record], axis: str) -> list[list[Record]]:
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


def _table(groups: list[list[Record]], axis: str, asked: Request) -> CurveTable | None:
    """Collect the curves of groups that differ in one number; None if no method has two of them."""
    first, entry = groups[0][0], AXES[axis].entry
    points = [
        Point.at_number(label, axis, AXES[axis].number(group[0]), members)
        for group, labelled in zip(groups, variants_of_groups(groups, across=TOLD - {entry}), strict=True)
        for label, members in labelled.items()
    ]
    if len({point.method for point in points}) == len(points):
        return None
    table = collect(points, asked, first.protocol.default_metrics, axis, best_at=-1)
    devices = {str(record.run.provenance.device) for group in groups for record in group}
    found = replace(
        table,
        nested=first.header.nested_in is not None,
        shots_note=first.protocol.draw.shots_note,
        devices=tuple(sorted(devices)),
    )
    return replace(found, notes=[*_notes(found), *difference_notes(found.differences)])


def collect(points: Sequence[Point], asked: Request, usual: tuple[str, ...], axis: str, best_at: int) -> CurveTable:
    """Score and compare methods at several values of a number; p-values are not corrected yet.

    Args:
        points: methods, each at one value. Parts of runs without the main score are left out.
        asked: name of the test, and the scores to compute; without names, those in `usual`.
        usual: names of the protocol's scores, the main one first.
        axis: name of the number, a key of `axes.WORDS`.
        best_at: index of the point in each curve by whose main score the methods are ordered, best first.

    Returns:
        The table, without notes; without curves if every point is left out.
    """
    metrics = asked.metrics or usual
    request = replace(asked, metrics=asked.metrics or tuple(headlines(usual)))
    sums, headline = Sums(asked.measure), metrics[0]
    scored: dict[str, dict[Point, CurvePoint]] = {}
    for point in sorted(points, key=lambda point: point.number):
        found = _scored(point, request.test, sums)
        if headline in found.scores or not point.is_part:
            scored.setdefault(point.method, {})[point] = found
    curves = [Curve(method, list(own.values())) for method, own in scored.items()]
    curves.sort(key=lambda curve: _place(curve.points[best_at], headline))
    ordered = [point for curve in curves for point in scored[curve.method]]
    return CurveTable(request.test, metrics, curve_differences(ordered, request, sums), [], axis, curves)


def _place(point: CurvePoint, metric: str) -> float:
    """Return what methods are sorted by: the higher score comes first, none last."""
    return -point.scores[metric].estimate.value if metric in point.scores else inf


def _title(record: Record, axis: str) -> str:
    """Return the title of the test without the number that differs."""
    title, words = record.protocol.title(record.header), AXES[axis]
    if not words.of_episodes:
        return title
    number, symbol = int(words.number(record)), words.symbol
    if axis == "shots":  # where supports are one set, the title counts images
        title = title.replace(f"{number_of(number, 'labelled image')} ", f"{symbol} labelled images ", 1)
    return title.replace(f"{number}-{words.entry}", f"{symbol}-{words.entry}", 1)


def _scored(point: Point, test: str, sums: Sums) -> CurvePoint:
    records = all_runs(point.runs)
    found = CurvePoint(
        point.number,
        {row.metric: row for row in point.scores(test, sums)},
        tuple(str(record.path) for record in records),
        tuple(point.runs) if records[0].header.folds > 1 else (),
    )
    if point.is_part:
        return found
    costs = [record.run.cost for record in records]
    return replace(
        found,
        costs={kind: value for kind in COSTS if (value := PLOTTED[kind].value(costs)) is not None},
        beyond=next(filter(None, (record.run.beyond_authors_rule for record in records)), ""),
    )


BEYOND = "+"
"""Mark of points beyond the authors' rule."""
SEVERAL_FOLDS = "several folds: the mean over the folds"
"""Note on the scores."""
SAME_EPISODES = {
    SIDE: "every side has the same episodes; a protocol that counts at the input's size counts other pixels",
    KEPT: "every share has the same episodes; in each support this share of the object is labelled "
    "(--data.test.kept_support)",
}
"""Axis -> the note that says what all runs of a curve have in common."""


def _notes(table: CurveTable) -> list[str]:
    notes = [SEVERAL_FOLDS]
    if table.axis in SAME_EPISODES:
        notes.append(SAME_EPISODES[table.axis])
    elif table.nested and table.axis == SHOTS:
        notes.append("every number of shots has the same queries; the supports are the first ones of one draw")
    elif table.axis == SHOTS:
        notes.append(table.shots_note)
    else:
        notes.append("more ways are a harder test: a query must be told from more classes")
    for curve in table.curves:
        symbol = WORDS[table.axis].symbol
        for beyond in dict.fromkeys(point.beyond for point in curve.points if point.beyond):
            numbers = ", ".join(f"{point.number:g}" for point in curve.points if point.beyond == beyond)
            notes.append(f"{BEYOND} {curve.method} with {symbol} {numbers}: {beyond}")
        missing = [f"{n:g}" for n in table.numbers if n not in {point.number for point in curve.points}]
        if missing:
            notes.append(
                f"{curve.method} has no run with {table.axis} {', '.join(missing)}: not run yet, or more than the "
                "method takes (fsbench grid says which)"
            )
    if len(table.devices) > 1:
        devices = ", ".join(table.devices)
        notes.append(f"time and memory cannot be compared: they were measured on different devices ({devices})")
    else:
        notes.append(f"seconds of an episode, loading included, and peak memory: measured on {table.devices[0]}")
    return notes


def difference_notes(differences: Sequence[ResultRow]) -> list[str]:
    """Return notes on the differences between points, and on why there are none along curves."""
    notes = []
    if not any(map(is_along, differences)):
        notes.append("the points of a curve have different queries, so no test compares the points with each other")
    if differences:
        notes.append("differences: in points, same queries, 95 % interval of the difference")
    return notes
