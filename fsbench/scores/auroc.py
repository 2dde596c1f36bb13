"""The area under the ROC curve of presence scores of (episode, way) pairs."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from fsbench.scores.rows import Groups


@dataclass(frozen=True, eq=False)
class RankedPairs:
    """Presence scores of n (episode, way) pairs, with the truth, to compute the AUROC of presence decisions.

    Attributes:
        present: (n,) bool, whether the pair's query shows the way.
        score: (n,) float, the method's presence scores, of which only the order matters.
    """

    present: np.ndarray
    score: np.ndarray

    of_episodes: ClassVar[bool] = False

    @classmethod
    def from_scores(cls, present: np.ndarray, score: np.ndarray) -> "RankedPairs":
        """Make pairs from whether each query shows the way, `present` (n,), and the presence scores `score` (n,)."""
        return cls(present.astype(bool), score.astype(float))

    def take(self, rows: np.ndarray) -> "RankedPairs":
        """Return some of the pairs; `rows` holds their positions, or is a mask (n,) bool."""
        return replace(self, present=self.present[rows], score=self.score[rows])

    def wins(self) -> np.ndarray:
        """Return (n,): how many of each pair's comparisons with the other kind the pair that shows its way wins.

        A pair that shows its way wins a comparison with a pair that does not if it has the higher presence score; ties
        count half.
        """
        absent, present = np.sort(self.score[~self.present]), np.sort(self.score[self.present])

        def below(values: np.ndarray, scores: np.ndarray) -> np.ndarray:
            return (np.searchsorted(values, scores, "left") + np.searchsorted(values, scores, "right")) / 2

        return np.where(self.present, below(absent, self.score), len(present) - below(present, self.score))

    def total(self) -> np.ndarray:
        """Return (1, 2): how many comparisons of a present with an absent pair the present one wins, and all."""
        present = int(self.present.sum())
        return np.array([[self.wins()[self.present].sum(), present * (len(self.present) - present)]])

    def without(self, groups: Groups, stratum: np.ndarray) -> np.ndarray:
        """Return (G, 2): wins and comparisons of present with absent pairs, each time without the pairs of one group.

        A comparison is one of a pair that shows its way with a pair that does not; it is a win if the former has the
        higher presence score.

        Args:
            groups: G groups of pairs, as indices into the pairs.
            stratum: not used; it is an argument for other kinds of values.
        """
        (wins, _), own = self.total()[0], self.wins()
        touched = np.bincount(groups.group, own[groups.row], groups.number)
        shown = np.bincount(groups.group, self.present[groups.row], groups.number)
        absent = np.bincount(groups.group, ~self.present[groups.row], groups.number)
        left = (self.present.sum() - shown) * ((~self.present).sum() - absent)
        return np.stack([wins - touched + self._within(groups, shown, absent), left], 1)

    def _within(self, groups: Groups, shown: np.ndarray, absent: np.ndarray) -> np.ndarray:
        """Return the wins (G,) between pairs of one group, which are in the wins of both."""
        found = np.zeros(groups.number)
        order = np.argsort(groups.group, kind="stable")
        ends = np.searchsorted(groups.group[order], np.arange(groups.number + 1))
        for group in np.flatnonzero((shown > 0) & (absent > 0)).tolist():
            own = self.take(groups.row[order[ends[group] : ends[group + 1]]])
            found[group] = own.total()[0, 0]
        return found


def auroc(totals: np.ndarray) -> np.ndarray:
    """Compute the area under the ROC curve in percent, (R,), from (wins, comparisons) as an array (R, 2).

    It is the probability that a query that shows the class gets a higher presence score than a query that does not;
    ties count half. It is 50 if all queries show the class, or none does.
    """
    wins, comparisons = totals.T
    return np.where(comparisons > 0, 100 * wins / np.maximum(comparisons, 1), 50.0)
