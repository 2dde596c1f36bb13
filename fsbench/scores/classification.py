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
    """A method's predictions for the query images of one classification episode.

    Attributes:
        episode: number of the episode in the manifest.
        classes: numbers, from 1, of the episode's N classes.
        named: (N, q) integers: for each of the q query images of each way the predicted way, from 0.
    """

    episode: int
    classes: tuple[int, ...]
    named: np.ndarray

    def rows(self) -> list[dict[str, Any]]:
        """Return the episode's rows of a count table, one for each way, as {column: value}.

        `gt` is the number of the way's query images, `tp` how many of these were recognised, and `pred` how many images
        were taken for the way. Columns that only make sense for masks are empty, or 0 where they are hashed with the
        counts.
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
    """Return each way's numbers of correctly classified and of all query images, as statistics for accuracy.

    A row of the table is one way of an episode, with q query images. Its accuracy depends on these and on the supports
    of all ways, which the columns `QUERIES` and `SUPPORTS` list where the table has them. Only the number of correct
    images is known, not which ones they are.

    Args:
        frame: the count table of a classification test.
        keep: (rows,) bool, the rows to use; None for all.
    """
    frame = frame if keep is None else frame.filter(keep)
    values = np.stack([frame["tp"].to_numpy(), frame["gt"].to_numpy()], 1)
    query, support = (padded(frame[name].to_list()) if name in frame.columns else None for name in (QUERIES, SUPPORTS))
    if query is None:
        query = np.arange(len(frame))  # no query has a name: each row stands for images of its own
    rows = Rows(query, support, np.zeros(len(frame), dtype=int))
    return ScoreStatistics(rows, {RIGHT.name: RowSum(values)}, (Accuracy(), ErrorRate()))
