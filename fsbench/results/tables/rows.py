"""A result as a row: one score of one method, or one difference of two, on a test or on a part of one.

Tables, comparisons, pages and notebooks filter and arrange these rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan, nan
from typing import TYPE_CHECKING, Any

from fsbench.results.tables.layout import ALPHA
from fsbench.scores.estimate import Estimate

if TYPE_CHECKING:
    import polars as pl

ALL, FOLD, SIZE, CLASS = "all", "fold", "size", "class"
"""Kinds of parts: the whole test, one fold of a test whose folds are all there, an object size, a class."""

MEAN = "mean"
"""Name of the mean over all folds of a test, beside the numbers of folds."""

COLUMNS = {
    "test": "data set, ways, shots, setting and protocol in words, and what tells it from others of the same words",
    "method": "label of the method, or of an answer that needs no model",
    "minus": "the method that is subtracted, of a difference; empty for a score",
    "fold": 'number of the fold, "mean" over all folds, or "all" for classification',
    "part_kind": '"all", "fold", "size" or "class"',
    "part": "the object size (share of the query in percent) or the class; the fold's number; else the word all",
    "rule": "another rule that the score follows; empty for the protocol's own",
    "metric": "name of the score",
    "value": "the score, or the difference method - minus",
    "low": "lower end of its 95 % interval; null without one",
    "high": "upper end of its 95 % interval",
    "scope": 'what the interval holds for: "images", "these supports", "identical" or "none"',
    "error": "standard error",
    "df": "degrees of freedom of the error",
    "p": "of the test that a difference is 0, by itself",
    "corrected": "p after Holm's correction over all differences of the request",
    "images": "number of query images",
    "pairs": "number of (episode, way) pairs, over all folds of the row",
    "episodes": "number of episodes, over all folds of the row",
    "run": "name of the run's folder; empty for a mean over folds and for a difference",
}
"""Column of `rows_frame` -> what it holds. The columns are stable."""

_NUMBERS = ("value", "low", "high", "error", "df", "p", "corrected")
_COUNTS = ("images", "pairs", "episodes")


@dataclass(frozen=True)
class ResultRow:
    """One score, or the difference of two; see `COLUMNS`.

    Attributes:
        estimate: the value with its interval, error and test.
        scores: of a difference, the scores of `method` and `minus`; NaN for a score.
        folds: number of folds that it is the mean over.
        parent: label of the method whose runs were scored; "" for an answer that needs no model.
    """

    test: str
    method: str
    fold: str
    metric: str
    estimate: Estimate
    minus: str = ""
    part_kind: str = ALL
    part: str = ALL
    rule: str = ""
    scores: tuple[float, float] = (nan, nan)
    corrected: float = nan
    pairs: int = 0
    episodes: int = 0
    folds: int = 1
    run: str = ""
    parent: str = ""

    @property
    def is_tested(self) -> bool:
        """Whether a difference has a p."""
        return not isnan(self.estimate.p)

    @property
    def significant(self) -> bool:
        """Whether two methods are told apart: p after its correction is below 0.05."""
        return self.corrected < ALPHA

    @property
    def episodes_of_fold(self) -> int:
        """Number of episodes of each fold."""
        return round(self.episodes / self.folds)

    def cells(self) -> dict[str, Any]:
        """Return the cells of the row by the names of `COLUMNS`; NaN stands for no number."""
        found = self.estimate
        return {
            **{name: getattr(self, name) for name in ("test", "method", "minus", "fold", "part_kind", "part", "rule")},
            "metric": self.metric,
            **{name: getattr(found, name) for name in ("value", "low", "high")},
            "scope": str(found.scope),
            **{name: getattr(found, name) for name in ("error", "df", "p")},
            "corrected": self.corrected,
            "images": found.queries,
            "pairs": self.pairs,
            "episodes": self.episodes,
            "run": self.run,
        }


def fold_in_words(fold: str) -> str:
    """Name the fold of a row; "" where there are no folds.

    >>> [fold_in_words(fold) for fold in ("0", MEAN, ALL)]
    ['fold 0', 'mean over folds', '']
    """
    return {MEAN: "mean over folds", ALL: ""}.get(fold, f"fold {fold}")


def scores_of(rows: Iterable[ResultRow]) -> dict[str, Estimate]:
    """Return metric -> score, or difference, of rows that have a value."""
    return {row.metric: row.estimate for row in rows if not isnan(row.estimate.value)}


def rows_frame(rows: Iterable[ResultRow]) -> "pl.DataFrame":
    """Return rows as a data frame with the columns of `COLUMNS`; a number that does not exist is null."""
    # spared until it is needed
    import polars as pl

    types = {name: pl.Float64 if name in _NUMBERS else pl.Int64 if name in _COUNTS else pl.String for name in COLUMNS}
    return pl.DataFrame([row.cells() for row in rows], schema=types).with_columns(pl.col(_NUMBERS).fill_nan(None))


PARTS = {CLASS: "class", SIZE: "object size"}
"""Breakdown of `wide_frame` -> the column that names its parts."""


def wide_frame(rows: Iterable[ResultRow], by: str | None = None) -> "pl.DataFrame":
    """Return scores with a column for each metric: a line for each method and fold, or for each part of them.

    Args:
        rows: scores, no differences.
        by: "class" or "size" for a line for each of these parts; None for whole tests.

    Returns:
        Columns test, method and fold; with `by`, class or object size, and the numbers of episodes and (episode, way)
        pairs; for each score the value and the ends of its 95 % interval, as mIoU, mIoU low and mIoU high, null where
        there is none; and run.
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
    named = lines if by is None else lines.rename({"part": PARTS[by]})
    return named.select(*(name for name in named.columns if name != "run"), "run")
