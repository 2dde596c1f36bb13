"""Points of a setting: methods at its values, such as numbers of shots, their scores and paired differences as rows."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from math import isnan, nan
from typing import TypeVar

import numpy as np

from fsbench.records.grouping import Runs, runs_by_fold
from fsbench.records.record import Record
from fsbench.results.rows.row import ResultRow
from fsbench.results.rows.scoring import ComparedPart, Request, Sums, correct, differences_on, fold_name, scores_on


@dataclass(frozen=True, eq=False)
class Point:
    """A method's runs, or a part of each run, at one value of a setting such as 5 shots.

    Attributes:
        method: the method's label.
        scope: the folds, the kind of setting and its value, and which rows of each run are used.
        runs: {fold: runs by training seed}, by ascending fold.
        number: the value of the setting if it is a number.
    """

    method: str
    scope: ComparedPart
    runs: Runs
    number: float = nan

    @classmethod
    def at_number(
        cls,
        method: str,
        kind: str,
        number: float,
        records: Iterable[Record],
        select: Callable[[Record], np.ndarray] | None = None,
    ) -> "Point":
        """Return a method's runs at one value of a number such as shots.

        Args:
            method: the method's label.
            kind: what the number counts, such as "shots" or "objects" (a kind of part in `fsbench.results.rows.row`).
            number: the value.
            records: the method's runs at this value, one for each fold and training.
            select: takes a run and returns (rows,) bool, the rows of its count table to use; None for whole runs.
        """
        runs = runs_by_fold(records)
        scope = ComparedPart(fold_name(list(runs.values())), kind, f"{number:g}", list(runs), select)
        return cls(method, scope, runs, number)

    @property
    def is_part(self) -> bool:
        """Whether the point uses only a part of its runs' episodes."""
        return self.scope.select is not None

    def scores(self, test: str, sums: Sums) -> list[ResultRow]:
        """Return a row for each score of the point; `test` is the test's name."""
        return scores_on(self.scope, self.method, self.runs, test, sums)


def paired_differences(pairs: Sequence[tuple[Point, Point]], request: Request, sums: Sums) -> list[ResultRow]:
    """Compare pairs of points that have the same queries: score of the first minus the second, p not corrected.

    Returns:
        The differences, ordered by score, then as in `pairs`.
    """
    points = {str(number): point for number, point in enumerate(dict.fromkeys(chain.from_iterable(pairs)))}
    names = {point: name for name, point in points.items()}
    found = differences_on(
        points["0"].scope,
        {name: point.runs for name, point in points.items()},
        [(names[first], names[second]) for first, second in pairs],
        request,
        sums,
    )
    return [_point_row(row, points[row.method], points[row.minus]) for row in found]


def _point_row(row: ResultRow, first: Point, second: Point) -> ResultRow:
    part, other = first.scope.part, second.scope.part
    minus_part = "" if other == part else other
    return replace(row, method=first.method, part=part, minus=second.method, minus_part=minus_part, parent=first.method)


@dataclass(frozen=True)
class PointTable:
    """Methods at several values of a setting, such as 1 and 5 shots, with differences between their scores.

    Attributes:
        title: words for the test, as in the result rows.
        metrics: names of the scores, the most important first.
        differences: differences between points that have the same queries.
        notes: sentences to print below the table.
        comparisons: number of p-values that were corrected together, in all tables of the request.
    """

    title: str
    metrics: tuple[str, ...]
    differences: list[ResultRow]
    notes: list[str]
    comparisons: int = field(default=0, kw_only=True)


T = TypeVar("T", bound=PointTable)


def correct_tables(tables: Sequence[T]) -> list[T]:
    """Return tables whose p-values are corrected for all differences in the tables together."""
    main = {table.title: table.metrics[0] for table in tables}
    corrected = correct([row for table in tables for row in table.differences], main)
    rows, comparisons = iter(corrected), sum(not isnan(row.corrected) for row in corrected)
    return [
        replace(table, differences=[next(rows) for _ in table.differences], comparisons=comparisons) for table in tables
    ]
