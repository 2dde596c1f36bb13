"""Sums that metrics are computed from: those that many share, and kinds that look at pixels or at presence scores.

A sum over pixels is measured in a run's stored masks, and only where a metric that needs it is asked for
(`fsbench.results.measuring.measures`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fsbench.data.dataset import VOID
from fsbench.scores.confusion import REGIONS, VoidRule
from fsbench.scores.metric import Sum
from fsbench.scores.rows import RowSum, RowValues

if TYPE_CHECKING:
    from fsbench.scores.count_table import CountTable


def _background(table: "CountTable") -> RowSum | None:
    if not table.is_whole:
        return None
    return table.by_episode(np.stack(table.void_rule.background(table.episode_counts), 1))


def _foreground(table: "CountTable") -> RowSum | None:
    if not table.is_whole:
        return None
    return table.by_episode(np.stack(table.void_rule.intersection_union(table.episode_counts), 1))


def _right(table: "CountTable") -> RowSum:
    if not table.is_whole:
        return table.by_pair(_with_number(table.rightly_decided))
    wrong = table.column("episode")[~table.rightly_decided]
    right = ~np.isin(table.frame["episode"].to_numpy()[table.episodes], wrong)
    return table.by_episode(_with_number(right))


def _with_number(values: np.ndarray) -> np.ndarray:
    """Set a one beside each of the values (n,), so that their number is summed, too: (n, 2)."""
    return np.column_stack([values, np.ones(len(values), dtype=np.int64)])


def _regions(table: "CountTable") -> RowSum:
    measured = np.column_stack([table.column(name) for name in REGIONS]).astype(float)
    return table.by_pair(np.column_stack([measured, np.ones(len(measured))]))


INTERSECTION = Sum("intersection", lambda table: table.by_class(table.intersection_union[0]))
"""(C,) pixels that are the class in prediction and truth."""
UNION = Sum("union", lambda table: table.by_class(table.intersection_union[1]))
"""(C,) pixels that are the class in prediction or truth."""
TRUTH = Sum("truth", lambda table: table.by_class(table.column("gt")))
"""(C,) pixels of the class in the truth, which say whether it is shown."""
BACKGROUND = Sum("background", _background)
"""(2,) intersection and union of the background, of whole episodes."""
FOREGROUND = Sum("foreground", _foreground)
"""(2,) intersection and union of any foreground (slot 0), of whole episodes."""
RIGHT = Sum("right", _right)
"""(2,) right answers, and all of them: whole episodes, presence decisions of a part of a run, query images of a
classification."""
DECISIONS = Sum("decisions", lambda table: table.by_class(_with_number(table.rightly_decided)))
"""(C, 2) right presence decisions, and all."""
REGION_MEASURES = Sum("regions", _regions, REGIONS)
"""(3,) sums of ROM and of RUM, and the number of (episode, way) pairs."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """Predicted and true label map of one episode, from which scores beyond pixel counts are measured.

    Attributes:
        prediction: (h, w) integers in 0..N, the label map; 0 is the background.
        truth: (h, w) integers in 0..N, or 255 for void.
        ways: number of ways N.
        void_rule: the rule by which the test treats void pixels.
        soft: (N, s, s) uint8 soft masks, where 255 is certainty; None if the run kept none.
    """

    prediction: np.ndarray
    truth: np.ndarray
    ways: int
    void_rule: VoidRule
    soft: np.ndarray | None = None

    @cached_property
    def counted(self) -> np.ndarray:
        """Which pixels (h, w) bool are scored: all, or all but void ones, by the test's rule."""
        return self.void_rule.counted_pixels(self.truth)

    def masks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (predicted, true) masks (h, w) bool: first of any foreground (slot 0), then of the ways 1..N."""
        yield self.prediction > 0, (self.truth > 0) & (self.truth != VOID)
        for way in range(1, self.ways + 1):
            yield self.prediction == way, self.truth == way


AddedUp = Callable[["CountTable", np.ndarray], RowValues | None]
"""How the measured values (R, ...) of a count table's R rows are added up; None where the sum does not exist."""


def by_class(table: "CountTable", rows: np.ndarray) -> RowValues:
    """Add up measured values (R, ...) of a count table's R rows for each class, over (episode, way) pairs: (C, ...)."""
    return table.by_class(rows[table.pairs])


def by_pair(table: "CountTable", rows: np.ndarray) -> RowValues:
    """Add up measured values (R, ...) of a count table's R rows over all (episode, way) pairs: (...)."""
    return table.by_pair(rows[table.pairs])


def by_episode(table: "CountTable", rows: np.ndarray) -> RowValues | None:
    """Add up measured values (R, ...) of a count table's R rows over whole episodes (slot 0): (...).

    None if only a part of a run is scored, for which there is no such sum.
    """
    return table.by_episode(rows[table.episodes]) if table.is_whole else None


@dataclass(frozen=True)
class MeasuredSum(Sum):
    """A sum of values that pixel counts do not give; they are measured on a run's predictions when a metric needs them.

    Attributes:
        measure: function that measures the values of rows; sums with the same function share its result.
        added_up: function that adds up the values, such as `by_class` (for each class) or `by_pair` (over all pairs).
    """

    count: None = field(default=None, init=False)
    columns: tuple[str, ...] = field(default=(), init=False)
    measure: Callable[..., np.ndarray]
    added_up: AddedUp = by_class


@dataclass(frozen=True)
class PixelSum(MeasuredSum):
    """A sum of values that are measured on the predicted and true masks of each episode.

    Attributes:
        measure: takes the `Pixels` of an episode and returns (N + 1, ...): the value for any foreground, then for each
            of the N ways.
        needs_soft: whether `measure` needs soft masks, which a run keeps only if its settings say so.
    """

    measure: Callable[[Pixels], np.ndarray]
    needs_soft: bool = False


@dataclass(frozen=True)
class ScoreSum(MeasuredSum):
    """A sum of values that are computed from presence scores, such as calibration errors.

    Attributes:
        measure: takes the presence scores (R,) from 0 to 1 of R rows and whether the query shows the way (R,) bool;
            returns values (R, ...).
    """

    measure: Callable[[np.ndarray, np.ndarray], np.ndarray]
