"""How well predictions agree with the labels of people: counts by image, and mIoU with its interval.

Axes: Q labelled images, C classes of the project.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fsbench.data.dataset import VOID
from fsbench.labelling.labelled_image import LabelledImage
from fsbench.metrics.bootstrap import FEW_EPISODES, Interval, intervals
from fsbench.metrics.scores import ScoreStatistics

FEW_IMAGES = FEW_EPISODES
"""Number of images below which an interval is clearly too narrow."""


@dataclass(frozen=True)
class Counts:
    """Pixels of every class in one image, each (C,) int64; a class that was not looked for has none.

    Attributes:
        intersection: Pixels of the class in prediction and labels.
        union: Pixels of the class in either.
        truth: Pixels of the class in the labels.
    """

    intersection: np.ndarray
    union: np.ndarray
    truth: np.ndarray


def count(predicted: np.ndarray, labels: np.ndarray, numbers: Sequence[int], classes: int) -> Counts:
    """Count the pixels of the classes `numbers` in two label maps (H, W); void pixels of `labels` do not count.

    Args:
        predicted: The prediction.
        labels: The truth.
        numbers: Classes that were looked for.
        classes: Number C of classes.
    """
    valid = labels != VOID
    joint = np.bincount(
        (predicted[valid].astype(np.int64) * 256 + labels[valid]), minlength=256 * 256
    ).reshape(256, 256)  # fmt: skip
    looked_for = np.isin(np.arange(1, classes + 1), list(numbers))
    both = np.diag(joint)[1 : classes + 1] * looked_for
    truth = joint.sum(0)[1 : classes + 1] * looked_for
    either = truth + joint.sum(1)[1 : classes + 1] * looked_for - both
    return Counts(both, either, truth)


def statistics(counts: Sequence[Counts]) -> ScoreStatistics:
    """Return the statistics of images as the suite's scores take them; a class without true pixels is left out."""
    return ScoreStatistics(
        right=np.zeros((len(counts), 2)),
        intersection=np.stack([one.intersection for one in counts]),
        union=np.stack([one.union for one in counts]),
        truth=np.stack([one.truth for one in counts]),
        absent_is_zero=False,
        metrics=("mIoU",),
    )


def mean_iou_interval(counts: Sequence[Counts]) -> Interval:
    """Return the mIoU in percent with its 95 % interval: bootstrap over images."""
    return intervals([statistics(counts)])["mIoU"]


@dataclass(frozen=True)
class ClassQuality:
    """IoU in percent of one class over all images, and the images whose labels show it."""

    name: str
    iou: float
    images: int


@dataclass(frozen=True)
class Quality:
    """Predictions before correction against the labels after it.

    Attributes:
        method: The method's name.
        images: Labelled images that had a prediction of the method.
        mean_iou: In percent.
        classes: Classes that the labels show.
    """

    method: str
    images: int
    mean_iou: Interval
    classes: tuple[ClassQuality, ...]


def measure_quality(
    labelled: Sequence[LabelledImage], classes: Sequence[str], counted: dict[tuple[str, int, int], Counts]
) -> list[Quality]:
    """Compare, by method, the predictions that labelled images had with their labels.

    Left out are images without a prediction, and those whose labels are an accepted one that nobody changed: it would
    be compared with itself.

    Args:
        labelled: The images.
        classes: Names of the project's classes.
        counted: Counts by image, revision and number of classes, those of earlier calls; becomes those of this one.
    """
    known = dict(counted)
    counted.clear()
    counts: dict[str, list[Counts]] = {}
    for image in labelled:
        if image.forecast and not image.accepted:
            key = image.name, image.revision, len(classes)
            if key not in known:
                forecast = image.forecast
                known[key] = count(forecast.label_map(), image.labels(), forecast.numbers, len(classes))
            counted[key] = known[key]
            counts.setdefault(image.forecast.method, []).append(known[key])
    measured = (method_quality(method, given, classes) for method, given in sorted(counts.items()))
    return [one for one in measured if one is not None]


def method_quality(method: str, counts: Sequence[Counts], classes: Sequence[str]) -> Quality | None:
    """Return the quality that counts of images tell; None where no label shows a class that was looked for."""
    truth = np.array([one.truth for one in counts])
    shown = np.flatnonzero(truth.sum(0)) if len(counts) else np.zeros(0, dtype=int)
    if not len(shown):
        return None
    intersection, union = (np.sum([getattr(one, key) for one in counts], axis=0) for key in ("intersection", "union"))
    by_class = tuple(
        ClassQuality(classes[place], float(100 * intersection[place] / union[place]), int((truth[:, place] > 0).sum()))
        for place in shown.tolist()
    )
    return Quality(method, len(counts), mean_iou_interval(counts), by_class)
