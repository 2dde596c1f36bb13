"""Accuracy of few-shot classification and its intervals (fort.md §2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.scores.bootstrap import Interval
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
    """Count the right and all query images of every episode, over the rows `keep` (all when None)."""
    columns = [frame[name].to_numpy() for name in ("episode", "tp", "gt")]
    episode, right, shown = columns if keep is None else (column[keep] for column in columns)
    places = np.unique(episode, return_inverse=True)[1]
    sums = np.zeros((int(places.max()) + 1, 2), dtype=np.int64)
    np.add.at(sums, places, np.stack([right, shown], 1))
    return ScoreStatistics(len(sums), {RIGHT.name: sums}, (Accuracy(), ErrorRate()))


def accuracy_interval(statistics: ScoreStatistics) -> Interval:
    """Return the episodes' mean accuracy in percent with its 95 % interval (§1)."""
    right, shown = np.asarray(statistics.sums[RIGHT.name]).T
    mean, half = mean_interval(100 * right / shown)
    return Interval(mean, mean - half, mean + half)


def mean_interval(accuracies: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return the mean of the episodes' accuracies and half the width of its 95 % interval: 1.96 standard errors.

    Raises SettingsError without episodes. The standard deviation is that of the population (ddof 0).
    """
    values = np.asarray(accuracies, float)
    if not values.size:
        raise SettingsError("no episode was evaluated; expected at least one")
    return float(values.mean()), float(1.96 * values.std() / math.sqrt(values.size))
