"""Every score of a run: the table of metrics, and the sums by query image that they are computed from."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fsbench.errors import SettingsError
from fsbench.metrics.auroc import RankedPairs, auroc
from fsbench.metrics.calibration import calibration_error
from fsbench.metrics.confusion import class_accuracy, fb_iou, mean_iou, pixel_accuracy
from fsbench.metrics.ifa_figure import ifa_figure

Totals = Mapping[str, np.ndarray]
"""Name of a statistic -> its sum over weighted query images, (R, ...) for R resamples; see `ScoreStatistics`."""


class Absent(NamedTuple):
    """Numbers of classes that have no pixels in a whole run and count as 0: of all, of the base, of the novel ones."""

    classes: int = 0
    base: int = 0
    novel: int = 0


@dataclass(frozen=True)
class Metric:
    """A score of a run.

    Attributes:
        name: as tables and the command line have it.
        meaning: a line for readers.
        needs: attributes of `ScoreStatistics` that it is computed from; without one of them there is no such score.
        compute: (totals, classes that count as 0) -> scores (R,).
        higher_is_better: False for error rates and the like.
        maximum: the largest value; 100 for percentages.
    """

    name: str
    meaning: str
    needs: tuple[str, ...]
    compute: Callable[[Totals, Absent], np.ndarray]
    higher_is_better: bool = True
    maximum: float = 100.0

    @property
    def sign(self) -> int:
        """Factor that makes more of the score better."""
        return 1 if self.higher_is_better else -1

    def digits(self, percent: int = 2) -> int:
        """Return the digits after the point to print; percentages have `percent`, scores up to 1 have three."""
        return 3 if self.maximum == 1 else percent


def _class_mean(mean: np.ndarray, truth: np.ndarray, absent: int) -> np.ndarray:
    """Turn a mean over all C classes (R,) into one over the classes with pixels in `truth` (R, C), and `absent` more.

    A class that only a resample misses is so left out. Predictions play no part: all methods are treated alike.
    """
    counted = (truth > 0).sum(-1) + absent
    return mean * truth.shape[-1] / np.maximum(counted, 1)


def _miou(totals: Totals, absent: Absent) -> np.ndarray:
    return _class_mean(mean_iou(totals["intersection"], totals["union"]), totals["truth"], absent.classes)


def _pixel_accuracy(totals: Totals, absent: Absent) -> np.ndarray:
    return _class_mean(pixel_accuracy(totals["intersection"], totals["truth"]), totals["truth"], absent.classes)


def _background(totals: Totals) -> tuple[np.ndarray, np.ndarray]:
    intersection, union = totals["background"].T
    return intersection, union


def _fb_iou(totals: Totals, _: Absent) -> np.ndarray:
    return fb_iou(totals["intersection"], totals["union"], _background(totals))


def _fb_iou_any(totals: Totals, _: Absent) -> np.ndarray:
    foreground = totals["foreground"]
    return fb_iou(foreground[:, :1], foreground[:, 1:], _background(totals))


def _fb_iou_classes(totals: Totals, absent: Absent) -> np.ndarray:
    intersection, union = _background(totals)
    return (_miou(totals, absent) + 100 * intersection / np.maximum(union, 1)) / 2


def _accuracy(totals: Totals, _: Absent) -> np.ndarray:
    right, total = totals["right"].T
    return 100 * right / np.maximum(total, 1e-9)


def _way_error(totals: Totals, _: Absent) -> np.ndarray:
    right, total = totals["decisions"][..., 0].sum(-1), totals["decisions"][..., 1].sum(-1)
    return 100 - 100 * right / np.maximum(total, 1e-9)


def _class_accuracy(totals: Totals, _: Absent) -> np.ndarray:
    return class_accuracy(totals["decisions"][..., 0], totals["decisions"][..., 1])


def _region_mean(column: int) -> Callable[[Totals, Absent], np.ndarray]:
    return lambda totals, _: totals["regions"][:, column] / np.maximum(totals["regions"][:, 2], 1e-9)


def _false_alarm_area(totals: Totals, _: Absent) -> np.ndarray:
    share, pairs = totals["false_alarms"].T
    return 100 * share / np.maximum(pairs, 1e-9)


def _miou_present(totals: Totals, absent: Absent) -> np.ndarray:
    intersection, union = np.moveaxis(totals["shown"], -1, 0)
    return _class_mean(mean_iou(intersection, union), totals["truth"], absent.classes)


def _boundary_iou(totals: Totals, absent: Absent) -> np.ndarray:
    intersection, union = np.moveaxis(totals["boundary"], -1, 0)
    return _class_mean(mean_iou(intersection, union), totals["truth"], absent.classes)


def run_means(sums: np.ndarray, absent: int = 0) -> np.ndarray:
    """Compute the mean IoU in percent (R,) of sums (R, C, runs, 2) of intersections and unions.

    It is the mean over the runs of the mean over the classes that a run shows or predicts (gfss.md §7), and `absent`
    more that count as 0.
    """
    intersection, union = sums[..., 0], sums[..., 1]
    there = union > 0
    iou = np.where(there, intersection / np.maximum(union, 1), 0).sum(1) / np.maximum(there.sum(1) + absent, 1)
    return 100 * iou.mean(-1)


def _base_mean(totals: Totals, absent: Absent) -> np.ndarray:
    return run_means(totals["base_runs"], absent.base)


def _novel_mean(totals: Totals, absent: Absent) -> np.ndarray:
    return run_means(totals["novel_runs"], absent.novel)


_CLASS_SUMS = ("intersection", "union", "truth")

IFA_FIGURE = "IFA-figure"
"""Name of the score that IFA's program prints."""

METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "mIoU",
            "mean over the classes of summed intersections / summed unions, background not included",
            _CLASS_SUMS,
            _miou,
        ),
        Metric(
            "FB-IoU",
            "mean of the IoU of all classes taken together and the IoU of the background, sums over all test pixels",
            ("intersection", "union", "background"),
            _fb_iou,
        ),
        Metric(
            "accuracy",
            "episodes in which presence is decided rightly for every way (exact match; called ER elsewhere); "
            "of classification: query images whose class is named rightly, mean over the episodes",
            ("right",),
            _accuracy,
        ),
        Metric(
            "error",
            "100 - accuracy: episodes in which presence is decided wrongly for some way",
            ("right",),
            lambda totals, absent: 100 - _accuracy(totals, absent),
            higher_is_better=False,
        ),
        Metric(
            "way-error",
            "wrong presence decisions among those on all (episode, way) pairs",
            ("decisions",),
            _way_error,
            higher_is_better=False,
        ),
        Metric(
            "class-accuracy",
            "right presence decisions by class, mean over the classes",
            ("decisions",),
            _class_accuracy,
        ),
        Metric(
            "class-error",
            "100 - class-accuracy",
            ("decisions",),
            lambda totals, absent: 100 - _class_accuracy(totals, absent),
            higher_is_better=False,
        ),
        Metric(
            "pixel-accuracy",
            "share of a class's pixels that is found, mean over the classes (mAcc)",
            _CLASS_SUMS,
            _pixel_accuracy,
        ),
        Metric(
            "FB-IoU-any",
            "FB-IoU whose foreground is one class: a pixel of one way taken for another way is right",
            ("foreground", "background"),
            _fb_iou_any,
        ),
        Metric(
            "FB-IoU-classes",
            "mean of the mIoU and the IoU of the background, FSSDINO's FB-IoU (fssdino.md §4)",
            (*_CLASS_SUMS, "background"),
            _fb_iou_classes,
        ),
        Metric(
            IFA_FIGURE,
            "what IFA's program prints: batches of episodes have one label, and the background is a class "
            "(cd-fss-protocol §8); no mIoU, and not to be mixed with one",
            ("labelled",),
            lambda totals, _: ifa_figure(totals["labelled"]),
        ),
        Metric(
            "mIoU-mean",
            "mean of mIoU-base and mIoU-novel (gfss.md §7)",
            ("base_runs", "novel_runs"),
            lambda totals, absent: (_base_mean(totals, absent) + _novel_mean(totals, absent)) / 2,
        ),
        Metric(
            "mIoU-base",
            "mean over the runs of the mIoU of the base classes, without background (gfss.md §7, §9)",
            ("base_runs",),
            _base_mean,
        ),
        Metric(
            "mIoU-novel",
            "mean over the runs of the mIoU of the novel classes (gfss.md §7, §9)",
            ("novel_runs",),
            _novel_mean,
        ),
        Metric(
            "ROM",
            "objects predicted in several pieces (dcama.md §12), mean over (episode, way) pairs; 0 to 1, 0 is best",
            ("regions",),
            _region_mean(0),
            higher_is_better=False,
            maximum=1.0,
        ),
        Metric(
            "RUM",
            "several objects predicted as one (dcama.md §12), mean over (episode, way) pairs; 0 to 1, 0 is best",
            ("regions",),
            _region_mean(1),
            higher_is_better=False,
            maximum=1.0,
        ),
        Metric(
            "AUROC",
            "chance that a query with the class has a higher presence score than one without, equal scores counting "
            "half; 50 is chance",
            ("ranked",),
            lambda totals, _: auroc(totals["ranked"]),
        ),
        Metric(
            "false-alarm-area",
            "share of the pixels that is predicted as the class where it is absent, mean over these (episode, way) "
            "pairs; 0 is best",
            ("false_alarms",),
            _false_alarm_area,
            higher_is_better=False,
        ),
        Metric(
            "mIoU-present",
            "mIoU of the queries that show the class, without those that do not",
            ("shown", "truth"),
            _miou_present,
        ),
        Metric(
            "boundary-IoU",
            "mIoU of the pixels near edges alone, up to 2 % of the image's diagonal inside prediction and truth "
            "(Cheng et al. 2021); from stored predictions and the data",
            ("boundary", "truth"),
            _boundary_iou,
        ),
        Metric(
            "presence-ECE",
            "expected calibration error of presence scores, 15 bins: mean score and share present, of (episode, way) "
            "pairs; of methods that score presence",
            ("presence_bins",),
            lambda totals, _: calibration_error(totals["presence_bins"]),
            higher_is_better=False,
        ),
        Metric(
            "pixel-ECE",
            "expected calibration error of soft masks, 15 bins: a way's mean probability in each of 64 x 64 cells and "
            "the share of its pixels that show the way; from stored soft masks and the data",
            ("pixel_bins",),
            lambda totals, _: calibration_error(totals["pixel_bins"]),
            higher_is_better=False,
        ),
    )
}
"""Every score of a run by its name; tables show them in this order."""

DEFAULT = ("mIoU", "FB-IoU", "accuracy")
"""Scores of a table that does not ask for others, under most protocols."""

GENERALISED = ("mIoU-mean", "mIoU-base", "mIoU-novel")
"""Scores of base and novel classes at once, over several runs."""

PRESENCE = ("AUROC", "false-alarm-area", "mIoU-present")
"""Scores of the question whether a query shows the class at all."""

COMMON = tuple(name for name in METRICS if name not in ("FB-IoU-classes", IFA_FIGURE, *GENERALISED, *PRESENCE))
"""Scores that there are under most protocols; a protocol with a score of its own says so (`Protocol.metrics`)."""

FROM_PREDICTIONS = ("boundary-IoU", "presence-ECE", "pixel-ECE")
"""Those that a table measures anew (`fsbench.tables.rescoring.measures`); no count table by itself gives them."""


def metric_names(text: str) -> list[str]:
    """Split names of `METRICS` written with commas between. Raises SettingsError for others."""
    names = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        problem = f"unknown metric '{unknown[0]}'" if unknown else "no metric was named"
        raise SettingsError(f"{problem}; there are: {', '.join(METRICS)}")
    return names


_MEASURED = ("boundary", "presence_bins", "pixel_bins")
"""Attributes of `ScoreStatistics` that no count table gives."""

_RUNS = ("base_runs", "novel_runs")

_PRESENCE_SUMS = ("false_alarms", "shown")

_ARRAYS = (
    *_CLASS_SUMS, "background", "right", "foreground", "decisions", "regions", "labelled", *_RUNS, *_PRESENCE_SUMS,
    *_MEASURED,
)  # fmt: skip
"""Attributes of `ScoreStatistics` that are sums, in the order in which they are multiplied by weights."""

_DISPENSABLE = {
    "background", "foreground", "decisions", "regions", "labelled", "ranked", *_RUNS, *_PRESENCE_SUMS, *_MEASURED,
}  # fmt: skip
"""Those that `ScoreStatistics.only` drops; the class sums say which classes were shown, `right` the clusters."""


@dataclass(frozen=True, kw_only=True)
class ScoreStatistics:
    """Sufficient statistics of every score of a run, or of a part of one.

    Axes: `Q` clusters that resamples draw whole (query images; episodes of a classification), `C` classes. A statistic
    that is None does not exist (a classification has no pixels, a part of a run no background), nor do its scores.

    Attributes:
        right: (Q, 2) right answers, and all of them: episodes of a whole run, presence decisions of a part of one,
            query images of a classification.
        intersection, union: (Q, C) pixels of the ways.
        truth: (Q, C) pixels of the ways in the truth.
        background: (Q, 2) intersection and union of the background.
        foreground: (Q, 2) intersection and union of any foreground (slot 0).
        decisions: (Q, C, 2) right presence decisions, and all.
        regions: (Q, 3) sums of ROM and of RUM, and the number of (episode, way) pairs.
        labelled: (Q, L, 4) pixels by the label of an episode's batch, see `fsbench.metrics.ifa_figure.ifa_sums`.
        base_runs, novel_runs: (Q, base or novel C, runs, 2) intersection and union of the ways by run, of tests of base
            and novel classes at once.
        false_alarms: (Q, 2) sums of the share of pixels predicted as an absent way, and the number of such pairs.
        shown: (Q, C, 2) intersection and union of the ways of the pairs whose query shows them.
        ranked: the pairs by their presence scores; their weights by rank are a total like the sums.
        boundary: (Q, C, 2) intersection and union of the boundaries of the ways.
        presence_bins, pixel_bins: (Q, bins, 3) sums of probabilities, see `fsbench.metrics.calibration.bin_sums`.
        absent_is_zero: a class that the run never shows counts as IoU 0 (the protocol's rule for a whole run), or is
            left out of the mean (parts of a run).
        absent_in_runs_is_zero: the same of `base_runs` and `novel_runs`, for classes that are not predicted either.
        metrics: names of the scores that there are, or of those that are wanted.
    """

    right: np.ndarray
    intersection: np.ndarray | None = None
    union: np.ndarray | None = None
    truth: np.ndarray | None = None
    background: np.ndarray | None = None
    foreground: np.ndarray | None = None
    decisions: np.ndarray | None = None
    regions: np.ndarray | None = None
    labelled: np.ndarray | None = None
    base_runs: np.ndarray | None = None
    novel_runs: np.ndarray | None = None
    false_alarms: np.ndarray | None = None
    shown: np.ndarray | None = None
    ranked: RankedPairs | None = None
    boundary: np.ndarray | None = None
    presence_bins: np.ndarray | None = None
    pixel_bins: np.ndarray | None = None
    absent_is_zero: bool = True
    absent_in_runs_is_zero: bool = False
    metrics: Collection[str] = COMMON

    @property
    def clusters(self) -> int:
        """Number Q of clusters."""
        return len(self.right)

    def only(self, names: Collection[str]) -> "ScoreStatistics":
        """Keep what the scores `names` need."""
        needed = {need for name in names for need in METRICS[name].needs}
        dropped: dict[str, Any] = dict.fromkeys(_DISPENSABLE - needed)
        return replace(self, metrics=tuple(name for name in names if name in self.metrics), **dropped)

    def scores(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Compute the wanted scores (R,) for weights (R, Q) of the clusters; all ones when None."""
        return self.compute(self.totals(weights))

    def totals(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Sum every statistic over the clusters with weights (R, Q): name -> (R, ...)."""
        weights = np.ones((1, self.clusters)) if weights is None else weights
        arrays = {name: array for name in _ARRAYS if (array := getattr(self, name)) is not None}
        widths = [prod(array.shape[1:]) for array in arrays.values()]
        flat = [array.reshape(len(array), width) for array, width in zip(arrays.values(), widths, strict=True)]
        side_by_side = np.concatenate(flat, 1, dtype=float)
        total = (side_by_side.T @ weights.T).T  # all at once, and resamples adjacent in memory: several times as fast
        parts = np.split(total, np.cumsum(widths)[:-1], 1)
        totals = {name: t.reshape(len(t), *a.shape[1:]) for (name, a), t in zip(arrays.items(), parts, strict=True)}
        return totals if self.ranked is None else totals | {"ranked": self.ranked.totals(weights)}

    def compute(self, totals: Totals) -> dict[str, np.ndarray]:
        """Compute the wanted scores (R,) from `totals`, in the order of `METRICS`."""
        absent = self._classes_counted_as_zero()
        return {
            name: metric.compute(totals, absent)
            for name, metric in METRICS.items()
            if name in self.metrics and all(need in totals for need in metric.needs)
        }

    def _classes_counted_as_zero(self) -> Absent:
        classes = 0 if self.truth is None or not self.absent_is_zero else int((self.truth.sum(0) == 0).sum())
        if not self.absent_in_runs_is_zero:
            return Absent(classes)
        base, novel = (
            0 if sums is None else int((sums[..., 1].sum((0, 2)) == 0).sum())
            for sums in (self.base_runs, self.novel_runs)
        )
        return Absent(classes, base, novel)
