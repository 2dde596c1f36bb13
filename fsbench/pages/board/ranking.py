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
    paired = _paired_p(ranked, cells, test.metric)
    pairs = [frozenset(pair) for pair in combinations(ranked, 2)]
    p = [
        paired[pair] if pair in paired else _unpaired_p(*(cells[n].scores[test.metric] for n in pair)) for pair in pairs
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
    for name, cell in cells.items():
        cell.rank = Rank(1 + better[name], len(ranked) - worse[name], len(ranked), name in untested, mixed, across)


def _paired_p(ranked: Sequence[str], cells: dict[str, Cell], metric: str) -> dict[frozenset[str], float]:
    """Test the pairs of rows that saw the same episodes, files and truth: pair -> p, not yet corrected.

    A difference that holds for these supports alone ranks nobody: its p is NaN.
    """
    same: dict[tuple[tuple[Any, ...], ...], list[str]] = {}
    for name in ranked:
        runs = sorted(cells[name].folds.items())
        seen = tuple((fold, *known_images(run.record), run.truth) for fold, run in runs)
        same.setdefault(seen, []).append(name)
    p: dict[frozenset[str], float] = {}
    for names in (names[:MOST_TESTED] for names in same.values() if len(names) > 1):
        statistics = {
            name: [run.statistics.only([metric]) for _, run in sorted(cells[name].folds.items())] for name in names
        }
        for item in differences(statistics, list(combinations(names, 2)))[metric]:
            bears = item.difference.scope is Scope.IMAGES
            p[frozenset((item.method, item.other))] = item.difference.p if bears else nan
    return p


def _unpaired_p(first: Estimate, second: Estimate) -> float:
    """Test two scores on different episodes, whose errors add up (Welch); NaN where one holds for no other supports."""
    if not all(score.has_interval and score.scope is Scope.IMAGES and score.error > 0 for score in (first, second)):
        return nan
    variances = first.error**2, second.error**2
    df = sum(variances) ** 2 / (variances[0] ** 2 / first.df + variances[1] ** 2 / second.df)
    return float(2 * stdtr(df, -abs(first.value - second.value) / sum(variances) ** 0.5))
