"""Ranks with what chance leaves open: rows of equal cards, tested in pairs where they saw the same episodes."""

from collections.abc import Sequence
from itertools import combinations
from math import nan
from typing import Any

from scipy.special import stdtr

from fsbench.pages.board.rows import Cell, Rank, Row, Test
from fsbench.protocols.registry import metric_named
from fsbench.records.card import ALLOWED, CONDITIONS
from fsbench.records.grouping import known_images
from fsbench.results.tables.layout import ALPHA
from fsbench.scores.decisions import adjust
from fsbench.scores.estimate import Estimate, Scope, differences

Conditions = tuple[str, ...]

MOST_TESTED = 12
"""Number of rows on the same episodes, the best, that are tested in pairs; others are compared by their errors."""


def groups_by_card(rows: Sequence[Row]) -> dict[Conditions, list[Row]]:
    """Group rows by the conditions of their cards, the strictest first."""
    groups: dict[Conditions, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.card.conditions.values()), []).append(row)
    pixels = ALLOWED["novel_pixels"]  # from none to labelled ones
    place = CONDITIONS.index("novel_pixels")
    words = {values: values[place] for values in groups}
    order = sorted(groups, key=lambda v: (pixels.index(words[v]) if words[v] in pixels else len(pixels), v))
    return {values: groups[values] for values in order}


def rank_rows(rows: Sequence[Row], tests: Sequence[Test], rank_all: bool = False) -> None:
    """Give every complete cell its rank among the rows of the same conditions, or with `rank_all` among all rows."""
    for group in [rows] if rank_all else groups_by_card(rows).values():
        for test in tests:
            entries = [row for row in group if test.id in row.cells and row.cells[test.id].is_complete]
            _rank(entries, test)


def _rank(rows: Sequence[Row], test: Test) -> None:
    cells = {row.id: row.cells[test.id] for row in rows}
    sign = metric_named(test.metric).sign
    ranked = sorted(cells, key=lambda name: (-sign * cells[name].scores[test.metric].value, name))
    place = {name: number for number, name in enumerate(ranked)}
    paired = _paired_differences(ranked, cells, test.metric)
    scopes = {found.scope for found in paired.values() if found.p == found.p}
    scope = scopes.pop() if len(scopes) == 1 else Scope.IMAGES  # what ranks hold for; others rank nobody
    pairs = [frozenset(pair) for pair in combinations(ranked, 2)]
    p = [
        _paired_p(paired[pair], scope)
        if pair in paired
        else unpaired_p(*(cells[name].scores[test.metric] for name in pair))
        for pair in pairs
    ]
    better: dict[str, int] = dict.fromkeys(ranked, 0)  # rows that are better, and not by chance
    worse: dict[str, int] = dict.fromkeys(ranked, 0)
    untested: set[str] = set().union(*(pair for pair in pairs if pair not in paired))
    for pair, corrected in zip(pairs, adjust(p, [True] * len(p)), strict=True):
        if corrected < ALPHA:
            upper, lower = sorted(pair, key=place.__getitem__)
            better[lower] += 1
            worse[upper] += 1
    mixed = len({(row.card.trials, row.card.backbone_data) for row in rows}) > 1
    across = len({tuple(row.card.conditions.values()) for row in rows}) > 1
    conditional = scope is Scope.THESE_SUPPORTS
    for name, cell in cells.items():
        first, last = 1 + better[name], len(ranked) - worse[name]
        cell.rank = Rank(first, last, len(ranked), name in untested, mixed, across, conditional)


def _paired_differences(ranked: Sequence[str], cells: dict[str, Cell], metric: str) -> dict[frozenset[str], Estimate]:
    """Compare the pairs of rows that saw the same episodes, files and truth."""
    same: dict[tuple[tuple[Any, ...], ...], list[str]] = {}
    for name in ranked:
        runs = sorted(cells[name].folds.items())
        seen = tuple((fold, *known_images(run.record), run.truth) for fold, run in runs)
        same.setdefault(seen, []).append(name)
    found: dict[frozenset[str], Estimate] = {}
    for names in (names[:MOST_TESTED] for names in same.values() if len(names) > 1):
        statistics = {
            name: [run.statistics.only([metric]) for _, run in sorted(cells[name].folds.items())] for name in names
        }
        for item in differences(statistics, list(combinations(names, 2)))[metric]:
            found[frozenset((item.method, item.other))] = item.difference
    return found


def _paired_p(difference: Estimate, scope: Scope) -> float:
    """Return the p of a difference that holds for `scope`; NaN of others, which rank nobody."""
    return difference.p if difference.scope is scope else nan


def unpaired_p(first: Estimate, second: Estimate) -> float:
    """Test two scores on different episodes, whose errors add up (Welch); NaN where one holds for no other supports."""
    if not all(score.has_interval and score.scope is Scope.IMAGES and score.error > 0 for score in (first, second)):
        return nan
    variances = first.error**2, second.error**2
    df = sum(variances) ** 2 / (variances[0] ** 2 / first.df + variances[1] ** 2 / second.df)
    return float(2 * stdtr(df, -abs(first.value - second.value) / sum(variances) ** 0.5))
