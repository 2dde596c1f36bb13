"""Accuracy of few-shot classification (fort.md §2)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.scores.count_table import QUERIES, SUPPORTS
from fsbench.scores.rows import Rows, RowSum, padded
from fsbench.scores.scores import Accuracy, ErrorRate
from fsbench.scores.statistics import ScoreStatistics
from fsbench.scores.sums import RIGHT

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class ClassificationResult:
    """Predictions for one classification episode.

    Attributes:
        episode: number in the manifest.
        classes: numbers of its N classes, from 1, as records have them.
        named: (N, q) the way, from 0, predicted for each of the q query images of each way.
    """

    episode: int
    classes: tuple[int, ...]
    named: np.ndarray

    def rows(self) -> list[dict[str, Any]]:
        """Return rows of a count table, one for each way.

        `tp` of the way's `gt` images were recognised, `pred` images were taken for it. Columns that only masks have are
        empty, or 0 where they are hashed with the counts.
        """
        ways = len(self.classes)
        taken = np.bincount(self.named.ravel(), minlength=ways)
        right = (self.named == np.arange(ways)[:, None]).sum(1)
        return [
            {
                "episode": self.episode,
                "slot": way + 1,
                "class_id": number,
                "tp": int(right[way]),
                "pred": int(taken[way]),
                "gt": self.named.shape[1],
                "pred_void": 0,
                "void": 0,
                "valid": self.named.size,
                "present": True,
                "decided": bool(taken[way]),
                "score": None,
                "rom": None,
                "rum": None,
            }
            for way, number in enumerate(self.classes)
        ]


def accuracy_statistics(frame: "pl.DataFrame", keep: np.ndarray | None = None) -> ScoreStatistics:
    """Count right and all query images of every way, over the rows `keep` (None: all).

    A row has the q query images of its way and the supports of all ways, clusters of either kind where the table has
    the column `QUERIES` or `SUPPORTS`; a record holds how many of the query images were right, and not which.
    """
    frame = frame if keep is None else frame.filter(keep)
    values = np.stack([frame["tp"].to_numpy(), frame["gt"].to_numpy()], 1)
    query, support = (padded(frame[name].to_list()) if name in frame.columns else None for name in (QUERIES, SUPPORTS))
    if query is None:
        query = np.arange(len(frame))  # no query has a name: each row stands for images of its own
    rows = Rows(query, support, np.zeros(len(frame), dtype=int))
    return ScoreStatistics(rows, {RIGHT.name: RowSum(values)}, (Accuracy(), ErrorRate()))
