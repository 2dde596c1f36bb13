"""Compare a study's methods in pairs: which one is better, and whether chance alone explains it."""

from collections.abc import Sequence

from fsbench.base.errors import FsbenchError
from fsbench.results.comparison.compare import Comparing, Comparison, compare_methods
from fsbench.results.rows.comparable import ComparedTest, Methods, common_folds
from fsbench.results.rows.row import ResultRow
from fsbench.results.rows.scoring import Measure

ALL_METRICS = 12
"""Largest number of methods that are compared in all metrics; more are compared in the first alone."""

MOST = 20
"""Largest number of methods in the matrix, the best, unless another is asked for."""


def compare_study(
    methods: Methods,
    metrics: Sequence[str],
    most: int | None,
    measure: Measure | None = None,
    rank_all: bool = False,
    beside: Sequence[ResultRow] = (),
) -> tuple[Comparison | None, str]:
    """Compare the methods of a study in pairs, on the folds that they share.

    Args:
        methods: {label: {fold: runs}}, the best method first.
        metrics: Names of the scores to compare.
        most: Largest number of methods; None for `MOST`.
        measure: Takes a run and measures on its predictions what scores beyond pixel counts need; None if not needed.
        rank_all: Whether methods are ranked together whatever their training conditions.
        beside: Other differences on the page, whose p-values are corrected together with these.

    Returns:
        The comparison, or None if no two methods can be compared; and a sentence on methods and folds that are left
        out, or on why there is no comparison.
    """
    taken, remark = comparable_methods(methods, most)
    if len(methods) < 2:
        return None, "Nothing to compare: there is only one method."
    if len(taken) < 2:
        return None, "Nothing to compare: no two methods have runs of the same fold."
    try:
        compared = metrics if len(taken) <= ALL_METRICS else metrics[:1]
        return compare_methods(taken, Comparing(compared, measure=measure, rank_all=rank_all), beside), remark
    except FsbenchError as error:
        return None, f"Not compared: {error}"


def comparable_methods(methods: Methods, most: int | None) -> tuple[Methods, str]:
    """Choose the methods of a study and the folds on which they are compared; say what is left out.

    The folds are the largest set that two methods share; the methods are the best of those that have all of these
    folds.

    Args:
        methods: {label: {fold: runs}}, the best method first.
        most: Largest number of methods; None: `MOST`.

    Returns:
        {label: {fold: runs}}, empty if no two methods share a fold; and sentences on what is left out, "" for nothing.
    """
    limit = MOST if most is None else most
    test = common_folds(ComparedTest(methods))
    if len(methods) < 2 or len({frozenset(runs) for runs in test.methods.values()}) > 1:
        return {}, ""  # no two share a fold
    taken = dict(list(test.methods.items())[:limit])
    beyond = [label for label in test.methods if label not in taken]
    notes = [
        *test.notes,
        *([f"left out after the first {limit} methods (--compare shows more): {', '.join(beyond)}"] if beyond else []),
    ]
    return taken, " ".join(f"{note[0].upper()}{note[1:]}." for note in notes)


def matrix_cells(rows: Sequence[ResultRow], fold: str) -> dict[tuple[str, str], tuple[float, ResultRow]]:
    """Return the cells of a matrix that compares every two methods on a fold.

    Returns:
        {(method of the row, method of the column): (points by which the row's method is better, the difference with its
        interval)}.
    """
    cells = {}
    for row in rows:
        if row.fold == fold:
            cells[row.method, row.minus] = (row.estimate.value, row)
            cells[row.minus, row.method] = (-row.estimate.value, row)
    return cells
