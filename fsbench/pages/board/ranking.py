"""Ranks with what chance leaves open: rows of equal cards, tested in pairs where they saw the same episodes."""

from collections.abc import Sequence
from itertools import combinations
from math import ceil
from typing import Any

from fsbench.pages.board.rows import Cell, Rank, Row, Test
from fsbench.protocols.registry import metric_named
from fsbench.records.card import ALLOWED, CONDITIONS
from fsbench.records.grouping import known_images
from fsbench.scores.bootstrap import LEVEL
from fsbench.scores.paired import RESAMPLES, holm, paired_differences

Conditions = tuple[str, ...]

MOST_TESTED = 12
"""Number of rows on the same episodes, the best, that are tested in pairs; others are compared by their intervals."""


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
    tested = _significant_by_test(ranked, cells, test.metric)
    better: dict[str, int] = dict.fromkeys(ranked, 0)  # rows that are better, and not by chance
    worse: dict[str, int] = dict.fromkeys(ranked, 0)
    untested: set[str] = set()
    for first, second in combinations(ranked, 2):
        pair = frozenset((first, second))
        if pair not in tested:
            untested |= pair
        if tested[pair] if pair in tested else _intervals_differ(cells[first], cells[second], test.metric):
            upper, lower = sorted(pair, key=place.__getitem__)
            better[lower] += 1
            worse[upper] += 1
    mixed = len({(row.card.trials, row.card.backbone_data) for row in rows}) > 1
    across = len({tuple(row.card.conditions.values()) for row in rows}) > 1
    for name, cell in cells.items():
        cell.rank = Rank(1 + better[name], len(ranked) - worse[name], len(ranked), name in untested, mixed, across)


def _significant_by_test(ranked: Sequence[str], cells: dict[str, Cell], metric: str) -> dict[frozenset[str], bool]:
    """Test the pairs of rows that saw the same episodes, files and truth: pair -> whether they differ."""
    same: dict[tuple[tuple[Any, ...], ...], list[str]] = {}
    for name in ranked:
        runs = sorted(cells[name].folds.items())
        seen = tuple((fold, *known_images(run.record), run.truth) for fold, run in runs)
        same.setdefault(seen, []).append(name)
    clusters = [names[:MOST_TESTED] for names in same.values() if len(names) > 1]
    number = sum(len(names) * (len(names) - 1) // 2 for names in clusters)
    resamples = max(RESAMPLES, ceil(2 * number / (1 - LEVEL)))
    p: dict[frozenset[str], float] = {}
    for names in clusters:
        statistics = {
            name: [run.statistics.only([metric]) for _, run in sorted(cells[name].folds.items())] for name in names
        }
        found = paired_differences(statistics, list(combinations(names, 2)), resamples)[metric]
        p |= {frozenset((item.method, item.other)): item.p for item in found}
    return {pair: value < 1 - LEVEL for pair, value in zip(p, holm(list(p.values())), strict=True)}


def _intervals_differ(first: Cell, second: Cell, metric: str) -> bool:
    """Return whether the intervals of two scores do not overlap."""
    one, other = first.scores[metric], second.scores[metric]
    return one.low > other.high or other.low > one.high
