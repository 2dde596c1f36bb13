"""The suite's own procedure on simulated counts: what tables, comparisons and reports call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.statistics.answers import COLUMNS
from benchmarks.statistics.structures import Structure
from fsbench.scores.auroc import RankedPairs
from fsbench.scores.calibration import BINS, PRESENCE_ERRORS, BinnedErrors, PresenceCalibration, bin_index
from fsbench.scores.estimate import Estimate
from fsbench.scores.metric import Metric, Sum
from fsbench.scores.presence import AUROC, RANKED
from fsbench.scores.rows import Rows, RowSum, RowValues
from fsbench.scores.scores import Accuracy, FBIoU, MeanIoU
from fsbench.scores.statistics import Episodes, ScoreStatistics
from fsbench.scores.sums import BACKGROUND, INTERSECTION, RIGHT, TRUTH, UNION
from fsbench.scores.trainings import Trained, differences, estimates

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (MeanIoU(), FBIoU(), Accuracy())}


@dataclass(frozen=True, eq=False)
class _Part:
    """A run of a fold.

    Attributes:
        keep: (m,) places of its rows among all.
        fold: number of the fold.
        rows: the images that they depend on.
        place: (m,) place of each row's class among those of the fold.
        classes: number of these.
    """

    keep: np.ndarray
    fold: int
    rows: Rows
    place: np.ndarray
    classes: int

    def statistics(self, metric: Metric, sums: Mapping[str, RowValues]) -> ScoreStatistics:
        """Return the statistics of a whole run, whose episodes have one way."""
        episodes = Episodes(self.rows, np.arange(len(self.keep)))
        return ScoreStatistics(self.rows, sums, (metric,), episodes=episodes)


@dataclass(frozen=True, eq=False)
class Procedure:
    """The procedure on one design: scores and paired differences of methods that answered it."""

    test: Structure

    def score_and_difference(self, counts: np.ndarray, metric: str) -> tuple[Estimate, Estimate]:
        """Estimate the score of the first method, and its difference to the second.

        Args:
            counts: (2, n, COLUMNS) of `draw_answers`.
            metric: "mIoU", "FB-IoU" or "accuracy".
        """
        return self._both([self.statistics(of_method, metric) for of_method in counts])

    def tests(self, counts: np.ndarray, pairs: Sequence[tuple[int, int]], metric: str) -> list[float]:
        """Return the p-value of each pair of methods, counts (M, n, COLUMNS)."""
        methods = {
            str(number): Trained.once(self.statistics(of_method, metric), self._fold_of)
            for number, of_method in enumerate(counts)
        }
        (found,) = differences(methods, [(str(i), str(j)) for i, j in pairs]).values()
        return [one.difference.these.p for one in found]

    def share_and_difference(self, right: np.ndarray) -> tuple[Estimate, Estimate]:
        """Estimate the share of right answers (2, n) as `score_and_difference` does a score."""
        counts = np.zeros((*right.shape, len(COLUMNS)))
        counts[..., COLUMNS.index("right")], counts[..., COLUMNS.index("rows")] = right, 1
        return self.score_and_difference(counts, "accuracy")

    def calibration_and_difference(self, scores: np.ndarray, happened: np.ndarray) -> tuple[Estimate, Estimate]:
        """Estimate the squared calibration error of probabilities (2, n) of what happened (n,), and the difference."""

        def errors(part: _Part, probability: np.ndarray) -> BinnedErrors:
            sums = np.zeros((len(part.keep), BINS, 3))
            row, of_bin = np.arange(len(part.keep)), bin_index(probability)
            sums[row, of_bin] = np.stack([np.ones(len(row)), probability, happened[part.keep]], 1)
            return BinnedErrors.from_sums(sums, part.rows.query)

        return self._both([self._of_parts(PresenceCalibration(), PRESENCE_ERRORS, errors, own) for own in scores])

    def auroc_and_difference(self, scores: np.ndarray, present: np.ndarray) -> tuple[Estimate, Estimate]:
        """Estimate the AUROC of scores (2, n) of presence (n,), and the difference."""

        def pairs(part: _Part, score: np.ndarray) -> RankedPairs:
            return RankedPairs.from_scores(present[part.keep], score)

        return self._both([self._of_parts(AUROC(), RANKED, pairs, own) for own in scores])

    def statistics(self, counts: np.ndarray, metric: str) -> list[ScoreStatistics]:
        """Return the statistics of each run of each fold that follow from counts (n, COLUMNS)."""
        return [one.statistics(METRICS[metric], self._sums(one, counts[one.keep], metric)) for one in self._parts]

    def _of_parts(
        self, metric: Metric, one: Sum, values: Callable[[_Part, np.ndarray], RowValues], score: np.ndarray
    ) -> list[ScoreStatistics]:
        """Return the statistics of each part for a metric of one sum, whose values follow from scores (n,)."""
        return [part.statistics(metric, {one.name: values(part, score[part.keep])}) for part in self._parts]

    def _sums(self, part: _Part, counts: np.ndarray, metric: str) -> dict[str, RowValues]:
        """Return the sums of a part that a metric needs, of its counts (m, COLUMNS)."""
        if metric == "accuracy":
            return {RIGHT.name: RowSum(counts[:, 4:6], of_episodes=True)}
        shown = counts[:, 1] * self.test.present[part.keep]
        sums: dict[str, RowValues] = {
            INTERSECTION.name: RowSum(counts[:, 0], part.place, part.classes),
            UNION.name: RowSum(counts[:, 1], part.place, part.classes),
            TRUTH.name: RowSum(shown, part.place, part.classes),
        }
        if metric == "FB-IoU":
            sums[BACKGROUND.name] = RowSum(counts[:, 2:4], of_episodes=True)
        return sums

    def _both(self, methods: Sequence[list[ScoreStatistics]]) -> tuple[Estimate, Estimate]:
        """Estimate the first method's score and its difference to the second's."""
        first, second = (Trained.once(runs, self._fold_of) for runs in methods)
        (score,) = estimates(first).values()
        ((one,),) = differences({"first": first, "second": second}, [("first", "second")]).values()
        return score.these, one.difference.these

    @cached_property
    def _parts(self) -> list[_Part]:
        test, parts = self.test, []
        for fold, run in np.unique(np.stack([test.fold, test.run], 1), axis=0):
            keep = np.flatnonzero((test.fold == fold) & (test.run == run))
            classes, place = np.unique(test.cls[keep], return_inverse=True)
            rows = Rows(test.query[keep], test.support[keep], test.cls[keep], fitted=test.fitted)
            parts.append(_Part(keep, int(fold), rows, place, len(classes)))
        return parts

    @property
    def _fold_of(self) -> list[int]:
        return [part.fold for part in self._parts]
