"""Parts for `metric` and `fb_iou`: how counts become scores (atlas-runs.md §9, §10)."""

from collections.abc import Mapping
from dataclasses import dataclass

from fsbench.protocols.segmentation import Absent
from fsbench.scores.generalised import AllAndBackgroundIoU, BaseAndNovelIoU
from fsbench.scores.metric import Metric
from fsbench.scores.scores import FBIoU, FBIoUClasses, MeanIoU


@dataclass(frozen=True)
class ScorePart:
    """A word of `metric` as values of `Segmentation`.

    Attributes:
        metric: the score that ranks.
        absent: see `Segmentation`.
        present_only: a class is counted only where the truth of an episode shows it, which is the rule "present" for
            void pixels.
    """

    metric: Metric
    absent: Absent = "zero"
    present_only: bool = False


@dataclass(frozen=True)
class FBIoUPart:
    """A word of `fb_iou`.

    Attributes:
        metric: what the program calls FB-IoU; None where it has no such score.
        present_only: as in `ScorePart`, whose rule it shares.
    """

    metric: Metric | None
    present_only: bool = False


PARTS: Mapping[str, ScorePart] = {
    "class-pooled mIoU": ScorePart(MeanIoU()),
    "class-pooled mIoU, classes seen": ScorePart(MeanIoU(), "left_out"),
    "class-pooled mIoU, present only": ScorePart(MeanIoU(), "nan", present_only=True),
    "class-pooled mIoU, absent is an error": ScorePart(MeanIoU(), "nan"),
    "gfss, base with background, zero for absent": ScorePart(AllAndBackgroundIoU(True)),
    "gfss, base without background": ScorePart(BaseAndNovelIoU(), "left_out"),
}
"""Word of `metric` -> part. There is none of scores that do not follow from the counts of an episode's classes."""
FB_IOU: Mapping[str, FBIoUPart] = {
    "pooled": FBIoUPart(FBIoU()),
    "pooled, present only": FBIoUPart(FBIoU(), present_only=True),
    "mean of mIoU and background IoU": FBIoUPart(FBIoUClasses()),
    "not computed": FBIoUPart(None),
}
"""Word of `fb_iou` -> part."""
