"""Rows with given scores, for tests of what is made of rows."""

from collections.abc import Mapping

from fsbench.results.rows.row import SIZE, ResultRow
from fsbench.results.sheets.cells import write_heads
from fsbench.results.sheets.fitting import cell_texts
from fsbench.results.table import Table
from fsbench.scores.estimate import Estimate


def scored(method: str, fold: str, scores: Mapping[str, Estimate], run: str = "") -> list[ResultRow]:
    """Return the rows of a method on a fold: metric -> score."""
    return [ResultRow("t", method, fold, metric, score, run=run, parent=method) for metric, score in scores.items()]


def sized(method: str, fold: str, metric: str, scores: Mapping[str, Estimate], pairs: int = 9) -> list[ResultRow]:
    """Return the rows of a method on a fold by object size: size -> score."""
    return [
        ResultRow("t", method, fold, metric, score, part_kind=SIZE, part=part, pairs=pairs, episodes=pairs)
        for part, score in scores.items()
    ]


def grid_of(table: Table) -> list[list[str]]:
    """Return what a table shows: the heads of its columns, then the words of each line."""
    return [write_heads(table.columns), *map(list, zip(*cell_texts(table), strict=True))]
