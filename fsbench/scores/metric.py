"""A metric, and the sums over query images that it is computed from.

A metric says what it sums, and what follows from the sums. Whoever resamples query images weighs the same sums anew, so
that every metric has intervals and tests without a line of its own. Metrics that name the same sum share it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

Totals = Mapping[str, np.ndarray]
"""Name of a sum -> its value (R, ...) for R resamples of the query images, whose weights were added up."""


class Weighable(Protocol):
    """Values by query image that are no plain sum, but give a total for weights of the query images."""

    def totals(self, weights: np.ndarray) -> np.ndarray:
        """Return the totals (R, ...) for weights (R, Q)."""


ByQuery = np.ndarray | Weighable
"""An array (Q, ...) of Q query images, whose weighted sum is taken, or values that weigh themselves."""


@dataclass(frozen=True)
class Sum:
    """A quantity that is added up for each query image.

    Attributes:
        name: by which metrics find its total; two sums of one name are one sum.
        count: sums the rows of a `CountTable` by query image; it returns None where the quantity does not exist, such
            as the background in some (episode, way) pairs. None: no count table gives it, and it is measured from
            stored predictions (`fsbench.results.tables.rescoring.measures`).
        columns: columns without which, or with gaps in which, there is no such sum: older records lack some.
    """

    name: str
    count: Callable[[Any], ByQuery | None] | None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric(ABC):
    """A score of a run. A subclass gives the attributes and `compute`.

    Attributes:
        name: as tables and the command line have it.
        meaning: a line for readers.
        sums: what it is computed from; without one of them there is no such score.
        higher_is_better: False for error rates and the like.
        maximum: the largest value; 100 for percentages.
        atlas_metric: the score in the words of the atlas (`Conditions.metric`); "" states none.
        atlas_fb_iou: the same of a score that a protocol may call its FB-IoU (`Conditions.fb_iou`).
    """

    name: ClassVar[str]
    meaning: ClassVar[str]
    sums: ClassVar[tuple[Sum, ...]]
    higher_is_better: ClassVar[bool] = True
    maximum: ClassVar[float] = 100.0
    atlas_metric: ClassVar[str] = ""
    atlas_fb_iou: ClassVar[str] = ""

    @abstractmethod
    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        """Compute the score (R,) of every resample.

        Args:
            totals: the sums of each resample, (R, ...), by their names.
            run: the plain sums of all query images, (1, ...), which tell what the run never shows; None for a part of a
                run, of which nobody expects every class.
        """

    @property
    def sign(self) -> int:
        """Factor that makes more of the score better."""
        return 1 if self.higher_is_better else -1

    @property
    def is_measured(self) -> bool:
        """Whether it needs sums that no count table gives."""
        return any(one.count is None for one in self.sums)

    def digits(self, percent: int = 2) -> int:
        """Return the digits after the point to print; percentages have `percent`, scores up to 1 have three."""
        return 3 if self.maximum == 1 else percent


def class_mean(shares: np.ndarray, totals: Totals, run: Totals | None) -> np.ndarray:
    """Average shares (R, C) from 0 to 1 over the classes that are shown, in percent (R,); see `over_shown_classes`."""
    return over_shown_classes(100 * shares.mean(-1), totals, run)


def over_shown_classes(mean: np.ndarray, totals: Totals, run: Totals | None) -> np.ndarray:
    """Turn a mean over all C classes (R,) into one over the classes that are shown.

    A class that a resample alone misses is left out, and one that the whole run never shows counts as 0. Predictions
    play no part, so that all methods are treated alike.

    Args:
        mean: with 0 for a class without pixels.
        totals, run: see `Metric.compute`; with the sum "truth", the pixels (R, C) of each class.
    """
    absent = 0 if run is None else int((run["truth"] == 0).sum())
    counted = (totals["truth"] > 0).sum(-1) + absent
    return mean * totals["truth"].shape[-1] / np.maximum(counted, 1)
