"""A metric, and the sums over rows that it is computed from.

A metric says what it sums, and what follows from the sums. The sums without the rows of one image give its intervals
and tests, so that every metric has them without a line of its own. Metrics that name the same sum share it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fsbench.scores.rows import RowValues

Totals = Mapping[str, np.ndarray]
"""Name of a sum -> its value (R, ...) for R sets of rows."""


@dataclass(frozen=True)
class Sum:
    """A quantity that is added up over rows of counts.

    Attributes:
        name: by which metrics find its total; two sums of one name are one sum.
        count: takes the values of the rows of a `CountTable`; it returns None if the quantity does not exist, such
            as the background in some (episode, way) pairs. None: no count table gives it, and it is measured where it
            is asked for (`fsbench.scores.sums.MeasuredSum`).
        columns: columns without which, or with gaps in which, there is no such sum: a table that was counted again
            lacks the region measures.
    """

    name: str
    count: Callable[[Any], RowValues | None] | None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric(ABC):
    """A score of a run; subclasses set the attributes and write `compute`.

    Attributes:
        name: as tables and the command line have it.
        meaning: a line for readers.
        sums: what it is computed from; without one of them there is no such score.
        higher_is_better: False for error rates and the like.
        minimum, maximum: the least and the largest value; 0 and 100 for percentages.
        share: the sum whose last column counts the answers, of a share of right or wrong answers; None of others.
        has_interval: False of a figure that is biased by the number of rows, and has neither interval nor test.
        is_squared_error: it is an unbiased square, which may be below 0; tables show its root, and 0 has a test.
        beside: name of the score that is shown beside it wherever it is asked for; "" of most.
        by_run: it is the mean over the runs within a record, each computed by itself.
        atlas_metric: the score in the words of the atlas (`Conditions.metric`); "" states none.
        atlas_fb_iou: the same of a score that a protocol may call its FB-IoU (`Conditions.fb_iou`).
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # of values that a file gives

    name: ClassVar[str]
    meaning: ClassVar[str]
    sums: ClassVar[tuple[Sum, ...]]
    higher_is_better: ClassVar[bool] = True
    minimum: ClassVar[float] = 0.0
    maximum: ClassVar[float] = 100.0
    share: ClassVar[Sum | None] = None
    has_interval: ClassVar[bool] = True
    is_squared_error: ClassVar[bool] = False
    beside: ClassVar[str] = ""
    by_run: ClassVar[bool] = False
    atlas_metric: ClassVar[str] = ""
    atlas_fb_iou: ClassVar[str] = ""

    @abstractmethod
    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        """Compute the score (R,) of R sets of rows, such as all rows, or all without one image.

        NaN where there is nothing to average.

        Args:
            totals: the sums of each set, (R, ...), by their names.
            run: the sums of all rows, (1, ...), which tell what the run never shows; None for a part of a run, of which
                nobody expects every class.
        """

    def problem(self) -> str:
        """Say what is wrong with the metric's own settings; "" for nothing."""
        return ""

    def is_defined(self, values: np.ndarray) -> bool:
        """Return whether the mean over parts with scores `values` (P,) is defined; by default if any is."""
        return bool(np.isfinite(values).any())

    def row_influences(self, sums: Mapping[str, RowValues]) -> np.ndarray | None:
        """Return each row's influence (n,) on the score; None if the score is recomputed without rows."""
        return None

    @property
    def sign(self) -> int:
        """1 if more is better, -1 if less is."""
        return 1 if self.higher_is_better else -1

    @property
    def unit(self) -> str:
        """Unit of differences; "" for scores from 0 to 1."""
        return "squared points" if self.is_squared_error else "" if self.maximum == 1 else "points"

    @property
    def in_points(self) -> bool:
        """Whether differences are in points."""
        return self.unit == "points"

    @property
    def is_measured(self) -> bool:
        """Whether the metric needs sums that count tables do not have."""
        return any(one.count is None for one in self.sums)

    @property
    def is_over_shown_classes(self) -> bool:
        """Whether the metric is a mean over shown classes only (`over_shown_classes`)."""
        return any(one.name == "truth" for one in self.sums)

    def digits(self, percent: int = 2) -> int:
        """Return the number of digits after the point: `percent` for percentages, 3 for scores up to 1."""
        return 3 if self.maximum == 1 else percent


def class_mean(shares: np.ndarray, totals: Totals, run: Totals | None) -> np.ndarray:
    """Average shares (R, C) over the classes that are shown, in percent (R,)."""
    return over_shown_classes(100 * shares.mean(-1), totals, run)


def over_shown_classes(
    mean: np.ndarray, totals: Totals, run: Totals | None, pixels: np.ndarray | None = None
) -> np.ndarray:
    """Convert a mean over all C classes (R,) into one over the classes that have pixels.

    A class that the whole run never shows counts as 0. One without pixels in some of the rows is left out there; NaN
    where all are.

    Args:
        mean: with 0 for a class without pixels.
        totals, run: see `Metric.compute`; with the sum "truth", the pixels (R, C) of each class.
        pixels: (R, C) pixels that the score of each class follows from; those of the truth when None.
    """
    pixels = totals["truth"] if pixels is None else pixels
    shown = np.ones(pixels.shape[-1], dtype=bool) if run is None else run["truth"][0] > 0
    counted = ((pixels > 0) & shown).sum(-1) + int((~shown).sum())
    return np.where(counted > 0, mean * pixels.shape[-1] / np.maximum(counted, 1), np.nan)
