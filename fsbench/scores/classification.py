"""Accuracy of few-shot classification (fort.md §2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.scores.count_table import QUERIES, SUPPORTS
from fsbench.scores.rows import Rows, RowSum, padded
from fsbench.scores.scores import RIGHT, Accuracy, ErrorRate
from fsbench.scores.statistics import ScoreStatistics

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class ClassificationResult:
    """Predictions on one evaluated episode.

    Attributes:
        episode: index in the manifest.
        classes: numbers of its N classes, from 1, as records have them.
        named: (N, q) the way, from 0, predicted for each of the q query images of each way.
    """

    episode: int
    classes: tuple[int, ...]
    named: np.ndarray

    def rows(self) -> list[dict[str, Any]]:
        """Return rows of a count table, one a way, whose unit is a query image.

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
    """Count the right and all query images of every way of an episode, over the rows `keep` (all when None).

    A row has the q query images of its way and the supports of all ways; a record holds how many of the query images
    were right, and not which.
    """
    frame = frame if keep is None else frame.filter(keep)
    values = np.stack([frame["tp"].to_numpy(), frame["gt"].to_numpy()], 1)
    query = support = None
    if SUPPORTS in frame.columns:
        query, support = (padded(frame[name].to_list()) for name in (QUERIES, SUPPORTS))
    else:
        query = np.arange(len(frame))  # no image has a name: each row stands for images of its own
    rows = Rows(query, support, np.zeros(len(frame), dtype=int))
    return ScoreStatistics(rows, {RIGHT.name: RowSum(values)}, (Accuracy(), ErrorRate()))


def mean_interval(accuracies: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return the mean of the episodes' accuracies and half the width of its 95 % interval: 1.96 standard errors.

    Raises SettingsError without episodes. The standard deviation is that of the population (ddof 0).
    """
    values = np.asarray(accuracies, float)
    if not values.size:
        raise SettingsError("no episode was evaluated; expected at least one")
    return float(values.mean()), float(1.96 * values.std() / math.sqrt(values.size))
