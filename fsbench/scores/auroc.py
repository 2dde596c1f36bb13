"""The area under the ROC curve of presence scores, of weighted (episode, way) pairs."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RankedPairs:
    """(episode, way) pairs in the order of their presence scores: what an AUROC follows from.

    Ranks, and not scores, are kept: an AUROC does not change with them, and two methods whose scores have different
    scales can swap answers in a test of their difference (Bandos et al. 2005, Stat. Med. 24, 2873).

    Attributes:
        cluster: (P,) number of each pair's query image.
        present: (P,) bool, the query shows the way.
        rank: (P,) from 0 to 2P - 2, twice the mean place among the scores in ascending order.
    """

    cluster: np.ndarray
    present: np.ndarray
    rank: np.ndarray

    @classmethod
    def from_scores(cls, cluster: np.ndarray, present: np.ndarray, score: np.ndarray) -> "RankedPairs":
        """Rank pairs by their scores (P,), the order of equal ones being irrelevant."""
        order = np.argsort(score, kind="stable")
        _, level = np.unique(score[order], return_inverse=True)
        first = np.searchsorted(level, level, "left")
        last = np.searchsorted(level, level, "right") - 1
        rank = np.empty(len(score), dtype=np.int64)
        rank[order] = first + last
        return cls(cluster, present.astype(bool), rank)

    def totals(self, weights: np.ndarray) -> np.ndarray:
        """Return the weight of absent and of present pairs at each rank, (R, 2P - 1, 2), for weights (R, Q)."""
        order = np.argsort(self.rank, kind="stable")
        ranks, starts = np.unique(self.rank[order], return_index=True)
        drawn, present = weights[:, self.cluster[order]], self.present[order]
        total = np.zeros((len(weights), 2 * len(order) - 1, 2))
        total[:, ranks, 0] = np.add.reduceat(drawn * ~present, starts, axis=1)
        total[:, ranks, 1] = np.add.reduceat(drawn * present, starts, axis=1)
        return total


def auroc(totals: np.ndarray) -> np.ndarray:
    """Compute the area under the ROC curve in percent (R,) from weights (R, ranks, 2) of absent and present pairs.

    It is the chance that a present pair has a higher score than an absent one, equal scores counting half; 50 where a
    resample has pairs of one kind alone.
    """
    absent, present = totals[..., 0], totals[..., 1]
    below = absent.cumsum(1) - absent / 2
    pairs = absent.sum(1) * present.sum(1)
    return np.where(pairs > 0, 100 * (present * below).sum(1) / np.where(pairs > 0, pairs, 1), 50.0)
