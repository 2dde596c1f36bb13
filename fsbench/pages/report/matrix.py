"""Compare a study's methods in pairs: which one is better, and whether chance alone explains it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from fsbench.base.errors import FsbenchError
from fsbench.results.tables.comparable import Methods, numbers_of
from fsbench.results.tables.compare import Comparing, Comparison, ComparisonLine, compare_methods

if TYPE_CHECKING:
    from fsbench.results.tables.rescoring.measures import Measures

ALL_METRICS = 12
"""Largest number of methods that are compared in all metrics; more are compared in the first alone."""

MOST = 20
"""Largest number of methods in the matrix, the best, unless another is asked for."""


def compare_study(
    methods: Methods,
    metrics: Sequence[str],
    most: int | None,
    measures: "Mapping[Path, Measures]" = MappingProxyType({}),
    rank_all: bool = False,
    beside: Sequence[float] = (),
) -> tuple[Comparison | None, str]:
    """Compare the methods that have runs of the same folds.

    Args:
        methods: The best first.
        metrics: Metrics to compare in.
        most: Largest number of methods; None: `MOST`.
        measures: Of the runs by folder, for metrics beyond the counts.
        rank_all: Whether methods of different cards are ranked together.
        beside: p of the other comparisons on the page, which are corrected along.

    Returns:
        The comparison, or None; and a remark on what is left out, or why there is none.
    """
    taken, remark = comparable_methods(methods, most)
    if len(methods) < 2:
        return None, "One method alone: there is nothing to compare."
    if len(taken) < 2:
        return None, f"Fewer than two methods have runs of the same folds. {remark}"
    try:
        compared = metrics if len(taken) <= ALL_METRICS else metrics[:1]
        measure = (lambda record: measures[record.path]) if measures else None
        return compare_methods(taken, Comparing(compared, measure=measure, rank_all=rank_all), beside), remark
    except FsbenchError as error:
        return None, f"Not compared: {error}"


def comparable_methods(methods: Methods, most: int | None) -> tuple[Methods, str]:
    """Return the methods that have runs of the same folds, and a remark on those that are left out.

    Args:
        methods: The best first.
        most: Largest number of methods; None: `MOST`.
    """
    widest: set[int] = max((set(runs) for runs in methods.values()), key=len)
    alike = [label for label, runs in methods.items() if set(runs) == widest]
    limit = MOST if most is None else most
    taken = {label: methods[label] for label in alike[:limit]}
    without = [label for label in methods if label not in taken]
    remarks = [f"without runs of the same folds ({numbers_of(widest)})" if len(alike) < len(methods) else ""]
    remarks += [f"beyond the {limit} best (--compare shows more)" if len(alike) > limit else ""]
    return taken, f"Left out, {' or '.join(filter(None, remarks))}: {', '.join(without)}." if without else ""


def matrix_cells(
    lines: Sequence[ComparisonLine], fold: str
) -> dict[tuple[str, str], tuple[float, bool, ComparisonLine]]:
    """Return the cells of a fold's matrix.

    Returns:
        (row, column) -> points by which the row's method is higher, whether that is significant, and the line.
    """
    cells = {}
    for line in lines:
        if line.fold == fold:
            pair = line.difference
            cells[pair.method, pair.other] = (pair.difference.value, line.significant, line)
            cells[pair.other, pair.method] = (-pair.difference.value, line.significant, line)
    return cells
