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
    """A quantity that is added up over the rows of a count table, such as the intersection of each class in pixels.

    Attributes:
        name: name by which metrics find the total; sums with the same name are taken as the same sum.
        count: takes a `CountTable` and returns the value of each row, or None if the quantity does not exist in that
            table (such as background pixels for only some (episode, way) pairs). `count` itself is None if the quantity
            does not follow from counts but is measured on predictions (`fsbench.scores.sums.MeasuredSum`).
        columns: columns of the count table that the sum needs; if one is missing or has gaps, the sum does not exist.
    """

    name: str
    count: Callable[[Any], RowValues | None] | None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric(ABC):
    """A score of a run; subclasses set the attributes and write `compute`.

    Attributes:
        name: name of the score in tables and on the command line.
        meaning: explanation of the score, in a line of text.
        sums: the sums from which the score is computed; if one does not exist, neither does the score.
        higher_is_better: whether a higher score is better; False for error rates and the like.
        minimum, maximum: lowest and highest possible value; 0 and 100 for percentages.
        share: for a share of right or wrong answers, the sum whose last column is the number of answers; None for other
            scores.
        has_interval: whether the score has an interval and a test; False if the number of rows biases the score.
        is_squared_error: whether the score is an unbiased estimate of a square, which may be below 0; tables show its
            root, and it is tested against 0.
        beside: name of another score that tables always show together with this one; "" for none.
        by_run: whether the score is computed for each run within a record and then averaged.
        atlas_metric: word of the condition `METRIC` for a score of an installed package that ranks methods; "" for
            none. Those of fsbench have theirs in `fsbench.protocols.conditions`.
        atlas_fb_iou: the same of the condition `FB_IOU` for a score that stands for a protocol's FB-IoU.
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

        The score is NaN where there is nothing to average.

        Args:
            totals: {name of a sum: its totals (R, ...), one for each set of rows}.
            run: the same totals over all rows of the run, (1, ...), which tell which classes the run never shows; None
                for a part of a run, which need not show every class.
        """

    def problem(self) -> str:
        """Return a sentence on what is wrong with the metric's own settings; "" if they are valid."""
        return ""

    def is_defined(self, values: np.ndarray) -> bool:
        """Return whether the mean over parts with scores `values` (P,) is defined; by default if any is."""
        return bool(np.isfinite(values).any())

    def row_influences(self, sums: Mapping[str, RowValues]) -> np.ndarray | None:
        """Return how far each of the n rows moves the score, (n,); None if it must be recomputed without rows instead.

        Args:
            sums: {name of a sum: its values at the n rows}.
        """
        return None

    @property
    def sign(self) -> int:
        """1 if higher scores are better, -1 if lower ones are."""
        return 1 if self.higher_is_better else -1

    @property
    def unit(self) -> str:
        """Unit of differences of this score: "points", "squared points", or "" for scores from 0 to 1."""
        return "squared points" if self.is_squared_error else "" if self.maximum == 1 else "points"

    @property
    def in_points(self) -> bool:
        """Whether differences of this score are in percentage points."""
        return self.unit == "points"

    @property
    def is_measured(self) -> bool:
        """Whether the metric needs measurements of pixels or presence scores that count tables do not hold."""
        return any(one.count is None for one in self.sums)

    @property
    def is_over_shown_classes(self) -> bool:
        """Whether the metric is a mean over only those classes that the scored queries show (`over_shown_classes`)."""
        return any(one.name == "truth" for one in self.sums)

    def digits(self, percent: int = 2) -> int:
        """Return the number of decimals to print: `percent` for percentages, 3 for scores up to 1."""
        return 3 if self.maximum == 1 else percent


def class_mean(shares: np.ndarray, totals: Totals, run: Totals | None) -> np.ndarray:
    """Average shares (R, C), from 0 to 1, over the classes that queries show, in percent (R,).

    Args:
        shares: (R, C) the score of each class, from 0 to 1, in each of R sets of rows; 0 for a class without pixels.
        totals, run: sums as in `Metric.compute`: {name: (R, ...)} and {name: (1, ...)}; they have "truth", the true
            pixels (R, C) and (1, C) of each class.
    """
    return over_shown_classes(100 * shares.mean(-1), totals, run)


def over_shown_classes(
    mean: np.ndarray, totals: Totals, run: Totals | None, pixels: np.ndarray | None = None
) -> np.ndarray:
    """Convert a mean over all C classes (R,) into one over the classes that have pixels.

    A class that the whole run never shows counts as 0. A class that has no pixels in one of the R sets of rows is left
    out of that set's mean; the mean is NaN where all classes are left out.

    Args:
        mean: (R,) mean over all C classes, in which a class without pixels counts as 0.
        totals, run: sums as in `Metric.compute`: {name: (R, ...)} and {name: (1, ...)}; they have "truth", the true
            pixels (R, C) of each class.
        pixels: (R, C) number of pixels on which the score of each class is based; None for the true pixels.
    """
    pixels = totals["truth"] if pixels is None else pixels
    shown = np.ones(pixels.shape[-1], dtype=bool) if run is None else run["truth"][0] > 0
    counted = ((pixels > 0) & shown).sum(-1) + int((~shown).sum())
    return np.where(counted > 0, mean * pixels.shape[-1] / np.maximum(counted, 1), np.nan)
