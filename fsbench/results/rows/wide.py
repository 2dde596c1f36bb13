"""Scores as people read them: a column for each metric."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fsbench.results.rows.parts import PART_KINDS
from fsbench.results.rows.row import ALL, CLASS, FOLD, SIZE, ResultRow, rows_frame

if TYPE_CHECKING:
    import polars as pl

WIDE_KINDS = (CLASS, SIZE)
"""Kinds of parts that tables have lines of."""


def wide_frame(rows: Iterable[ResultRow], by: str | None = None) -> "pl.DataFrame":
    """Return a data frame with columns for each metric, and a row for each method and fold, or each part of them.

    Args:
        rows: scores, without differences.
        by: "class" or "size" for a row for each class or object size; None for whole tests.

    Returns:
        Columns test, method and fold; with `by` also the class or object size and the numbers of episodes and of
        (episode, way) pairs; for each score its value and the ends of its 95 % interval, as "mIoU", "mIoU low" and
        "mIoU high" (null if missing); and run, the name of the run's folder.
    """
    # spared until it is needed
    import polars as pl

    suffixes = (("value", ""), ("low", " low"), ("high", " high"))
    kinds = (ALL, FOLD) if by is None else (by,)
    chosen = rows_frame(row for row in rows if row.part_kind in kinds)
    keys = ["test", "method", "fold", *([] if by is None else ["part", "episodes", "pairs"]), "run"]
    lines = chosen.select(keys).unique(maintain_order=True)
    for metric in chosen["metric"].unique(maintain_order=True):
        numbers = (pl.col(end).alias(f"{metric}{suffix}") for end, suffix in suffixes)
        of_metric = chosen.filter(pl.col("metric") == metric).select(*keys, *numbers)
        lines = lines.join(of_metric, on=keys, how="left", maintain_order="left", nulls_equal=True)
    named = lines if by is None else lines.rename({"part": PART_KINDS[by].head})
    return named.select(*(name for name in named.columns if name != "run"), "run")
