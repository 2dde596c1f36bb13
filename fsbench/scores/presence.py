"""Scores of the question whether a query shows a class at all, and its threshold."""

from typing import TYPE_CHECKING

import numpy as np

from fsbench.scores.auroc import RankedPairs, auroc
from fsbench.scores.confusion import mean_iou
from fsbench.scores.metric import Metric, Sum, Totals, over_shown_classes
from fsbench.scores.rows import RowSum
from fsbench.scores.sums import TRUTH

if TYPE_CHECKING:
    from fsbench.scores.count_table import CountTable


def _false_alarms(table: "CountTable") -> RowSum | None:
    present = table.column("present")
    if present.all():
        return None
    predicted = table.intersection_union[1]  # nothing is true where the way is absent
    share = np.where(present, 0.0, predicted / np.maximum(table.void_rule.pixels(table.counts), 1))
    return table.by_pair(np.stack([share, (~present).astype(float)], 1))


def _shown(table: "CountTable") -> RowSum | None:
    present = table.column("present")
    if not present.any():
        return None
    return table.by_class(np.stack(table.intersection_union, 1) * present[:, None])


def _ranked(table: "CountTable") -> RankedPairs | None:
    present = table.column("present")
    if present.all() or not present.any():
        return None
    return RankedPairs.from_scores(present, table.column("score"))


RANKED = Sum("ranked", _ranked)
"""(2,) wins of present pairs over absent ones in their presence scores, and the number of such comparisons."""
FALSE_ALARMS = Sum("false_alarms", _false_alarms)
"""(2,) sums of the share of pixels predicted as an absent way, and the number of such pairs."""
SHOWN = Sum("shown", _shown)
"""(C, 2) intersection and union of the ways of the pairs whose query shows them."""


class AUROC(Metric):
    name = "AUROC"
    meaning = (
        "chance that a query with the class has a higher presence score than one without, equal scores counting half; "
        "50 is chance"
    )
    sums = (RANKED,)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return auroc(totals["ranked"])


class FalseAlarmArea(Metric):
    name = "false-alarm-area"
    meaning = (
        "share of the pixels that is predicted as the class where it is absent, mean over these (episode, way) pairs; "
        "0 is best"
    )
    sums = (FALSE_ALARMS,)
    higher_is_better = False

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        share, pairs = totals["false_alarms"].T
        return np.where(pairs > 0, 100 * share / np.maximum(pairs, 1), np.nan)


class MeanIoUPresent(Metric):
    name = "mIoU-present"
    meaning = "mIoU of the queries that show the class, without those that do not"
    sums = (SHOWN, TRUTH)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        intersection, union = np.moveaxis(totals["shown"], -1, 0)
        return over_shown_classes(mean_iou(intersection, union), totals, run, union)


PRESENCE: tuple[Metric, ...] = (AUROC(), FalseAlarmArea(), MeanIoUPresent())
"""Scores of the question whether a query shows the class at all."""


def best_threshold(present: np.ndarray, score: np.ndarray) -> float:
    """Return the presence threshold t for which decisions `score >= t` have the best balanced accuracy.

    Queries with and without the class weigh the same. Thresholds halfway between neighbouring scores are tried, and 0
    (all present) and 2 (none present). Of equally good thresholds the lowest is returned.

    Args:
        present: (P,) bool, whether the query shows the class.
        score: (P,) presence scores in [0, 1].
    """
    distinct = np.unique(score.astype(float))
    thresholds = np.concatenate([[0.0], (distinct[1:] + distinct[:-1]) / 2, [2.0]])
    hits = np.searchsorted(np.sort(score[present]), thresholds, "left")  # present ones below
    rejected = np.searchsorted(np.sort(score[~present]), thresholds, "left")
    shown, absent = max(int(present.sum()), 1), max(int((~present).sum()), 1)
    balanced = (present.sum() - hits) * absent + rejected * shown  # whole numbers, so that equal ones are equal
    return float(thresholds[int(balanced.argmax())])
