"""Ranks with what chance leaves open: all rows of one column whose cards agree, tested in pairs."""

from collections.abc import Sequence
from itertools import combinations
from math import isnan, nan
from typing import Any, NamedTuple, get_args

from fsbench.pages.board.rows import Cell, Row, Test, trained_of
from fsbench.protocols.reading import metric_named
from fsbench.records.card import CONDITIONS, NovelPixels
from fsbench.records.grouping import known_images
from fsbench.scores.decisions import ALPHA, adjust
from fsbench.scores.distributions import t_below
from fsbench.scores.estimate import Estimate, Scope
from fsbench.scores.trainings import Reach, TrainedEstimate, differences, ranked_together

Conditions = tuple[str, ...]
Reached = tuple[Scope, Reach]
"""How far an interval reaches: what images and supports it holds for, and what trainings."""

MARKS = {
    "~": "some rows saw other episodes and are compared by the errors of both scores",
    "†": "the ranked rows differ in the number of trials or in the backbone's data, which ranks do not account for",
    "‡": "ranked among the rows of all groups (--rank-all)",
    "°": "for these supports only",
    "¹": "for these trainings only: a method was trained once",
}
"""Mark of a rank -> its meaning."""

_PIXELS = get_args(NovelPixels)
"""From none to labelled ones."""


def groups_by_card(rows: Sequence[Row]) -> dict[Conditions, list[Row]]:
    """Return {training conditions: rows of the leaderboard whose cards state them}, the strictest conditions first."""
    groups: dict[Conditions, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.card.conditions.values()), []).append(row)
    place = CONDITIONS.index("novel_pixels")

    def strictness(values: Conditions) -> tuple[int, Conditions]:
        return _PIXELS.index(values[place]) if values[place] in _PIXELS else len(_PIXELS), values

    return {values: groups[values] for values in sorted(groups, key=strictness)}


def rank_rows(rows: Sequence[Row], tests: Sequence[Test], rank_all: bool = False) -> int:
    """Rank the scores in each column (test) of a leaderboard, and return the number of comparisons with a p-value.

    Ranks are written to the cells of the rows. Only scores with an interval get one, among rows with the same training
    conditions, or, with `rank_all`, among all. P-values are corrected for all pairs of the whole table together, with
    equal weights, since each is about the first score of a whole test (statistics spec §7).
    """
    groups = [list(rows)] if rank_all else list(groups_by_card(rows).values())
    columns = [column for group in groups for test in tests for column in _columns(group, test)]
    pairs = [_compare(column) for column in columns]
    p = [pair.p for of_column in pairs for pair in of_column]
    corrected = iter(adjust(p, [True] * len(p)))
    for column, of_column in zip(columns, pairs, strict=True):
        _rank(column, of_column, [next(corrected) < ALPHA for _ in of_column])
    return sum(not isnan(each) for each in p)


class _Column(NamedTuple):
    """Rows that are ranked together on a test, the best first: cards agree, and intervals hold for the same."""

    metric: str
    reach: Reached
    rows: Sequence[Row]
    cells: Sequence[Cell]


class _Pair(NamedTuple):
    """A comparison of two rows of a column, by their places in it; `p` is NaN if there is no test."""

    better: int
    worse: int
    p: float
    saw_the_same: bool


def _columns(group: Sequence[Row], test: Test) -> list[_Column]:
    """Collect the rows of a group with a mean on a test, apart by what its interval holds for; none without one."""
    name, sign = test.metric, metric_named(test.metric).sign
    own = [(row, row.cells[test.id]) for row in group if test.id in row.cells]
    known = [(row, cell) for row, cell in own if name in cell.scores and cell.scores[name].has_interval]
    known.sort(key=lambda entry: (-sign * entry[1].scores[name].value, entry[0].id))
    reaches = ranked_together({row.id: cell.trained[name].spreads[0].reach for row, cell in known})
    by_reach: dict[Reached, list[tuple[Row, Cell]]] = {}
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
        seen = [(fold, *known_images(runs[0].record), runs[0].truth) for fold, runs in cell.folds.items()]
        same.setdefault(tuple(seen), []).append(place)
    found: dict[tuple[int, int], TrainedEstimate] = {}
    for places in (places for places in same.values() if len(places) > 1):
        trained = {str(place): trained_of([*column.cells[place].folds.values()]) for place in places}
        pairs = list(combinations(trained, 2))
        for item in differences(trained, pairs, metrics=[column.metric]).get(column.metric, []):
            found[int(item.method), int(item.other)] = item.difference
    return found


def _rank(column: _Column, pairs: Sequence[_Pair], different: Sequence[bool]) -> None:
    """Give the cells of a column their possible places, from the pairs that are told apart, as "2–4 of 6†"."""
    count = len(column.rows)
    apart = [pair for pair, is_different in zip(pairs, different, strict=True) if is_different]
    by_errors = {place for pair in pairs if not pair.saw_the_same for place in (pair.better, pair.worse)}
    is_mixed = len({(row.card.entries["trials"], row.card.entries["backbone_data"]) for row in column.rows}) > 1
    for place, cell in enumerate(column.cells):
        marks = {
            "~": place in by_errors,
            "†": is_mixed,
            "‡": len(groups_by_card(column.rows)) > 1,
            "°": count > 1 and column.reach[0] is Scope.THESE_SUPPORTS,
            "¹": count > 1 and column.reach[1] is Reach.THESE,
        }
        first = 1 + sum(pair.worse == place for pair in apart)
        last = count - sum(pair.better == place for pair in apart)
        places = str(first) if first == last else f"{first}–{last}"
        cell.rank = f"{places} of {count}{''.join(mark for mark in MARKS if marks[mark])}"


def unpaired_p(first: Estimate, second: Estimate) -> float:
    """Return the p-value that two scores on different episodes are equal, by Welch's test.

    It is NaN unless both scores have an interval that holds for other supports, too.
    """
    if not all(score.has_interval and score.scope is Scope.IMAGES and score.error > 0 for score in (first, second)):
        return nan
    variances = first.error**2, second.error**2
    df = sum(variances) ** 2 / (variances[0] ** 2 / first.df + variances[1] ** 2 / second.df)
    return 2 * t_below(-abs(first.value - second.value) / sum(variances) ** 0.5, df)
