"""Ranks with what chance leaves open: all rows of one column whose cards agree, tested in pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isnan, nan
from typing import Any, get_args

from fsbench.pages.board.results import trained_of
from fsbench.pages.board.rows import Cell, Rank, Row, Test
from fsbench.protocols.reading import metric_named
from fsbench.records.card import CONDITIONS, UNKNOWN, NovelPixels
from fsbench.records.grouping import known_images
from fsbench.scores.decisions import ALPHA, adjust
from fsbench.scores.distributions import t_below
from fsbench.scores.estimate import Estimate, Scope
from fsbench.scores.trainings import Reach, TrainedEstimate, differences, ranked_together

Conditions = tuple[str, ...]
Reached = tuple[Scope, Reach]
"""How far an interval reaches: what images and supports it holds for, and what trainings."""


def groups_by_card(rows: Sequence[Row]) -> dict[Conditions, list[Row]]:
    """Return {training conditions: rows of the leaderboard whose cards state them}, the strictest conditions first."""
    groups: dict[Conditions, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.card.conditions.values()), []).append(row)
    pixels = (*get_args(NovelPixels), UNKNOWN)  # from none to labelled ones
    place = CONDITIONS.index("novel_pixels")
    words = {values: values[place] for values in groups}
    order = sorted(groups, key=lambda v: (pixels.index(words[v]) if words[v] in pixels else len(pixels), v))
    return {values: groups[values] for values in order}


def rank_rows(rows: Sequence[Row], tests: Sequence[Test], rank_all: bool = False) -> int:
    """Rank the scores in each column (test) of a leaderboard, among rows with the same training conditions.

    Only scores with an interval get a rank. P-values are corrected for all pairs of the whole table together, with
    equal weights, since each is about the first score of a whole test (statistics spec §7).

    Args:
        rows: the rows of the table; ranks are written to their cells.
        tests: the columns of the table.
        rank_all: whether rows are ranked together whatever their training conditions.

    Returns:
        Number of comparisons with a p-value.
    """
    groups = [list(rows)] if rank_all else list(groups_by_card(rows).values())
    columns = [column for group in groups for test in tests for column in _columns(group, test)]
    pairs = [_compare(column) for column in columns]
    p = [pair.p for of_column in pairs for pair in of_column]
    corrected = iter(adjust(p, [True] * len(p)))
    for column, of_column in zip(columns, pairs, strict=True):
        _rank(column, of_column, [next(corrected) < ALPHA for _ in of_column])
    return sum(not isnan(each) for each in p)


@dataclass(frozen=True)
class _Column:
    """Rows that are ranked together on one test, since their cards agree and their intervals hold for the same.

    Attributes:
        metric: the score that ranks.
        reach: how far the intervals of all scores reach: what images and supports, and what trainings.
        rows: the best first.
        cells: theirs on the test.
    """

    metric: str
    reach: Reached
    rows: Sequence[Row]
    cells: Sequence[Cell]


@dataclass(frozen=True)
class _Pair:
    """A comparison of two rows of a column, by their places in it; `p` is NaN if there is no test."""

    better: int
    worse: int
    p: float
    saw_the_same: bool


def _columns(group: Sequence[Row], test: Test) -> list[_Column]:
    """Collect the rows of a group with a mean on a test, apart by what its interval holds for; none without one."""
    name, sign = test.metric, metric_named(test.metric).sign
    complete = [
        (row, row.cells[test.id]) for row in group if test.id in row.cells and name in row.cells[test.id].scores
    ]
    complete.sort(key=lambda entry: (-sign * entry[1].scores[name].value, entry[0].id))
    by_reach: dict[Reached, list[tuple[Row, Cell]]] = {}
    known = [(row, cell) for row, cell in complete if cell.scores[name].has_interval]
    reaches = ranked_together({row.id: cell.trained[name].spreads[0].reach for row, cell in known})
    for row, cell in known:
        by_reach.setdefault((cell.scores[name].scope, reaches[row.id]), []).append((row, cell))
    return [_Column(name, reach, *zip(*entries, strict=True)) for reach, entries in by_reach.items()]


def _compare(column: _Column) -> list[_Pair]:
    """Compare every two rows: by their paired difference where they saw the same, else by the errors of both."""
    paired = _paired_differences(column)
    scores = [cell.scores[column.metric] for cell in column.cells]
    pairs = []
    for better, worse in combinations(range(len(scores)), 2):
        found = paired.get((better, worse))
        if found is None:
            p = unpaired_p(scores[better], scores[worse])
        else:
            p = found.p_family if found.widest.scope is column.reach[0] and not found.is_borrowed else nan
        pairs.append(_Pair(better, worse, p, found is not None))
    return pairs


def _paired_differences(column: _Column) -> dict[tuple[int, int], TrainedEstimate]:
    """Compare the pairs of rows that saw the same episodes, files and truth: places of both -> their difference."""
    same: dict[tuple[tuple[Any, ...], ...], list[int]] = {}
    for place, cell in enumerate(column.cells):
        seen = tuple(
            (fold, *known_images(trainings[0].record), trainings[0].truth)
            for fold, trainings in sorted(cell.folds.items())
        )
        same.setdefault(seen, []).append(place)
    found: dict[tuple[int, int], TrainedEstimate] = {}
    for places in (places for places in same.values() if len(places) > 1):
        trained = {
            str(place): trained_of([runs for _, runs in sorted(column.cells[place].folds.items())]) for place in places
        }
        pairs = list(combinations(trained, 2))
        for item in differences(trained, pairs, metrics=[column.metric]).get(column.metric, []):
            found[int(item.method), int(item.other)] = item.difference
    return found


def _rank(column: _Column, pairs: Sequence[_Pair], different: Sequence[bool]) -> None:
    """Give the cells of a column their possible places, from the pairs that are told apart."""
    count = len(column.rows)
    apart = [pair for pair, is_different in zip(pairs, different, strict=True) if is_different]
    by_errors = {place for pair in pairs if not pair.saw_the_same for place in (pair.better, pair.worse)}
    mixed = len({(row.card.entries["trials"], row.card.entries["backbone_data"]) for row in column.rows}) > 1
    across = len({tuple(row.card.conditions.values()) for row in column.rows}) > 1
    for place, cell in enumerate(column.cells):
        cell.rank = Rank(
            first=1 + sum(pair.worse == place for pair in apart),
            last=count - sum(pair.better == place for pair in apart),
            count=count,
            by_errors=place in by_errors,
            mixed=mixed,
            across=across,
            conditional=count > 1 and column.reach[0] is Scope.THESE_SUPPORTS,
            single=count > 1 and column.reach[1] is Reach.THESE,
        )


def unpaired_p(first: Estimate, second: Estimate) -> float:
    """Return the p-value that two scores on different episodes are equal, by Welch's test.

    It is NaN unless both scores have an interval that holds for other supports, too.
    """
    if not all(score.has_interval and score.scope is Scope.IMAGES and score.error > 0 for score in (first, second)):
        return nan
    variances = first.error**2, second.error**2
    df = sum(variances) ** 2 / (variances[0] ** 2 / first.df + variances[1] ** 2 / second.df)
    return 2 * t_below(-abs(first.value - second.value) / sum(variances) ** 0.5, df)
