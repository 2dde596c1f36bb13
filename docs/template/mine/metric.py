"""mIoU that ignores a band of 3 pixels at objects' borders, where annotators differ."""

import numpy as np

from fsbench.scores.confusion import mean_iou
from fsbench.scores.metric import Metric, over_shown_classes
from fsbench.scores.sums import TRUTH, Pixels, PixelSum

BAND = 3


def count_inside(pixels: Pixels) -> np.ndarray:
    """Count intersection and union of any way and of each (N + 1, 2), without pixels up to BAND from another label."""
    side = 2 * BAND + 1
    around = np.lib.stride_tricks.sliding_window_view(np.pad(pixels.truth, BAND, mode="edge"), (side, side))
    inside = pixels.counted & (around.min((2, 3)) == around.max((2, 3)))
    return np.array([[(p & t & inside).sum(), ((p | t) & inside).sum()] for p, t in pixels.masks()])


class InsideIoU(Metric):
    name = "inside-mIoU"
    meaning = "mIoU without a band of 3 pixels at objects' borders; from stored predictions and the data"
    sums = (PixelSum("inside", count_inside), TRUTH)

    def compute(self, totals, run):
        intersection, union = np.moveaxis(totals["inside"], -1, 0)
        return over_shown_classes(mean_iou(intersection, union), totals, run, union)
