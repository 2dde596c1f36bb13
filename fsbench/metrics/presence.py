"""Statistics of the question whether a query shows a class at all: its scores, its threshold."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.metrics.auroc import RankedPairs
from fsbench.metrics.confusion import COUNTS, VOID_RULES, intersection_union
from fsbench.metrics.count_table import query_numbers, sum_by_class, sum_by_query

if TYPE_CHECKING:
    import polars as pl


def presence_sums(frame: "pl.DataFrame", keep: np.ndarray, class_ids: Sequence[int], void: str) -> dict[str, Any]:
    """Sum what the scores of presence need over the (episode, way) rows `keep` (rows,) bool, by query image.

    Args:
        frame: the count table, with a column `query`.
        keep: (rows,) bool, of ways alone.
        class_ids: numbers of the classes of these rows at least.
        void: rule of `fsbench.metrics.confusion.VOID_RULES`.

    Returns:
        Statistics of `ScoreStatistics` by name; without those that need present or absent pairs where there are none.
    """
    present = frame["present"].to_numpy()[keep]
    counts = np.column_stack([frame[name].to_numpy() for name in COUNTS])[keep]
    sums: dict[str, Any] = {}
    if not present.all():
        predicted = VOID_RULES[void].intersection_union(counts)[1]  # nothing is true there
        share = np.where(present, 0.0, predicted / np.maximum(VOID_RULES[void].pixels(counts), 1))
        sums["false_alarms"] = sum_by_query(frame, keep, np.stack([share, (~present).astype(float)], 1))
    if present.any():
        both = np.stack(intersection_union(counts, void), 1) * present[:, None]
        sums["shown"] = sum_by_class(frame, keep, class_ids, both)
    if present.any() and not present.all():
        score = frame["score"].to_numpy()[keep]
        sums["ranked"] = RankedPairs.from_scores(query_numbers(frame, keep), present, score)
    return sums


def best_threshold(present: np.ndarray, score: np.ndarray) -> float:
    """Return the threshold t for which most of the decisions `score >= t` are right, present and absent counting alike.

    Thresholds lie halfway between neighbouring scores; 0 and 2 say that all or none are present. Of equally good ones
    it is the lowest.

    Args:
        present: (P,) bool, the truth.
        score: (P,) in [0, 1].
    """
    distinct = np.unique(score.astype(float))
    thresholds = np.concatenate([[0.0], (distinct[1:] + distinct[:-1]) / 2, [2.0]])
    hits = np.searchsorted(np.sort(score[present]), thresholds, "left")  # present ones below
    rejected = np.searchsorted(np.sort(score[~present]), thresholds, "left")
    shown, absent = max(int(present.sum()), 1), max(int((~present).sum()), 1)
    balanced = (present.sum() - hits) * absent + rejected * shown  # whole numbers, so that equal ones are equal
    return float(thresholds[int(balanced.argmax())])
