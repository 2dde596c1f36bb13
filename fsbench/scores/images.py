"""Scores of single images, averaged: Dice and IoU by image (skin-ds.md §1)."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fsbench.scores.metric import Metric, Sum, Totals
from fsbench.scores.rows import RowSum

if TYPE_CHECKING:
    from fsbench.scores.count_table import CountTable

Share = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Takes intersections and unions (n,) in pixels, and returns shares (n,) from 0 to 1; NaN for 0 / 0."""


def _dice(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    return np.asarray(2 * intersection / (union + intersection))


def _iou(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    return np.asarray(intersection / union)


def _by_image(share: Share, table: "CountTable") -> RowSum:
    with np.errstate(invalid="ignore"):
        shares = share(*table.intersection_union)
    return table.by_class(np.column_stack([shares, np.ones(len(shares))]))


class ImageMean(Metric):
    """Mean of a share over the images of a class, then over the classes that have images.

    An image for which the share is 0 / 0 makes the score NaN, as in the authors' program; a query that shows its class
    is no such image.
    """

    one: ClassVar[Sum]
    """(C, 2) sum of the shares of each class's images, and their number."""

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        shares, images = np.moveaxis(totals[self.one.name], -1, 0)
        means = np.divide(shares, images, out=np.zeros_like(shares, dtype=float), where=images > 0)
        classes = (images > 0).sum(-1)
        return np.where(classes > 0, 100 * means.sum(-1) / np.maximum(classes, 1), np.nan)


class DiceByImage(ImageMean):
    name = "Dice-by-image"
    meaning = "2 TP / (2 TP + FP + FN) of an image's pixels, mean over the images of a class, then over classes"
    one = Sum("image-dice", partial(_by_image, _dice))
    sums = (one,)


class IoUByImage(ImageMean):
    name = "IoU-by-image"
    meaning = "intersection / union of an image's pixels, mean over the images of a class, then over classes"
    one = Sum("image-iou", partial(_by_image, _iou))
    sums = (one,)


BY_IMAGE: tuple[ImageMean, ...] = (DiceByImage(), IoUByImage())
"""Scores of single images, averaged."""
