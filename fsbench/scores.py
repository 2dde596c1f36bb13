"""Every score of a run as arithmetic on sums by query image and class."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from fsbench.counts import class_accuracy, fb_iou, mean_iou, pixel_accuracy
from fsbench.errors import SettingsError

SCORES = {
    "mIoU": "mean over the classes of summed intersections / summed unions, background not included",
    "FB-IoU": "mean of the IoU of all classes taken together and the IoU of the background, sums over all test pixels",
    "accuracy": "episodes in which presence is decided rightly for every way (exact match; called ER elsewhere); "
    "of classification: query images whose class is named rightly, mean over the episodes",
    "error": "100 - accuracy: episodes in which presence is decided wrongly for some way",
    "way-error": "wrong presence decisions among those on all (episode, way) pairs",
    "class-accuracy": "right presence decisions by class, mean over the classes",
    "class-error": "100 - class-accuracy",
    "pixel-accuracy": "share of a class's pixels that is found, mean over the classes (mAcc)",
    "FB-IoU-any": "FB-IoU whose foreground is one class: a pixel of one way taken for another way is right",
    "ROM": "objects predicted in several pieces (dcama.md §12), mean over (episode, way) pairs; 0 to 1, 0 is best",
    "RUM": "several objects predicted as one (dcama.md §12), mean over (episode, way) pairs; 0 to 1, 0 is best",
}
"""Every score of a run and what it is; in percent but for ROM and RUM."""

LOWER_IS_BETTER = {"error", "way-error", "class-error", "ROM", "RUM"}

UP_TO_ONE = {"ROM", "RUM"}
"""Scores that are no percentages."""

NEEDED_BY = {
    "background": {"FB-IoU", "FB-IoU-any"},
    "foreground": {"FB-IoU-any"},
    "decisions": {"way-error", "class-accuracy", "class-error"},
    "regions": {"ROM", "RUM"},
}
"""Attributes of `Sums` that may be None, and the scores that are made of them."""


def sign(metric: str) -> int:
    """What a score is multiplied by so that more is better."""
    return -1 if metric in LOWER_IS_BETTER else 1


def top(metric: str) -> float:
    """The largest value that a score can have."""
    return 1.0 if metric in UP_TO_ONE else 100.0


def digits(metric: str, percent: int = 2) -> int:
    """Digits after the point of a score, of which percentages have `percent`."""
    return 3 if metric in UP_TO_ONE else percent


def metric_names(text: str) -> list[str]:
    """Names of `SCORES` written with commas between; raises SettingsError for others."""
    names = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    unknown = [name for name in names if name not in SCORES]
    if unknown or not names:
        what = f"unknown metric '{unknown[0]}'" if unknown else "no metric was named"
        raise SettingsError(f"{what}; there are: {', '.join(SCORES)}")
    return names


@dataclass(frozen=True)
class Sums:
    """What scores are made of, summed by query image (first axis Q); classes on the second axis C.

    Attributes:
        intersection, union, truth: (Q, C) pixels of the ways, the last in the truth; no class where there are no masks.
        background: (Q, 2) intersection and union of the background; None where it has no meaning (parts of a run).
        right: (Q, 2) episodes (or single decisions, or query images of a classification) that are right, and all.
        absent_is_zero: a class that the run never shows counts as IoU 0 (the protocol's rule for a whole run);
            otherwise it is left out of the mean (parts of a run).
        asked: names of the scores that are wanted.
        foreground: (Q, 2) intersection and union of slot 0, any foreground.
        decisions: (Q, C, 2) right presence decisions, and all.
        regions: (Q, 3) sums of ROM and of RUM, and the number of pairs.

    A score whose sums are None is left out.
    """

    intersection: np.ndarray
    union: np.ndarray
    truth: np.ndarray
    background: np.ndarray | None
    right: np.ndarray
    absent_is_zero: bool = True
    foreground: np.ndarray | None = None
    decisions: np.ndarray | None = None
    regions: np.ndarray | None = None
    asked: Collection[str] = tuple(SCORES)

    def only(self, names: Collection[str]) -> "Sums":
        """For the scores `names` alone, without the sums that they do not need."""
        unused: dict[str, Any] = {field: None for field, scores in NEEDED_BY.items() if not scores & set(names)}
        return replace(self, asked=tuple(names), **unused)

    def scores(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Scores (R,), in the order of `SCORES`, for weights (R, Q) of the query images; all ones when None."""
        return self.figures(self.totals(weights))

    def totals(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Attribute -> its weighted sum over the query images (R, ...)."""
        weights = np.ones((1, len(self.right))) if weights is None else weights
        arrays = {name: array for name, array in vars(self).items() if isinstance(array, np.ndarray)}
        widths = [prod(array.shape[1:]) for array in arrays.values()]
        flat = [array.reshape(len(array), width) for array, width in zip(arrays.values(), widths, strict=True)]
        side_by_side = np.concatenate(flat, 1, dtype=float)
        total = (side_by_side.T @ weights.T).T  # all at once, and resamples adjacent in memory: several times as fast
        parts = np.split(total, np.cumsum(widths)[:-1], 1)
        return {name: t.reshape(len(t), *a.shape[1:]) for (name, a), t in zip(arrays.items(), parts, strict=True)}

    def figures(self, totals: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Scores (R,) of `totals`, in the order of `SCORES`."""
        i, u, t, right = (totals[name] for name in ("intersection", "union", "truth", "right"))
        found: dict[str, np.ndarray] = {}
        if "mIoU" in self.asked and t.shape[1]:
            found["mIoU"] = self._among_seen(mean_iou(i, u), t)
        if "accuracy" in self.asked or "error" in self.asked:
            found["accuracy"] = 100 * right[:, 0] / np.maximum(right[:, 1], 1e-9)
            found["error"] = 100 - found["accuracy"]
        if "background" in totals:
            background = tuple(totals["background"].T)
            found["FB-IoU"] = fb_iou(i, u, background)
            if "foreground" in totals:
                any_way = totals["foreground"]
                found["FB-IoU-any"] = fb_iou(any_way[:, :1], any_way[:, 1:], background)
        if "decisions" in totals:
            d = totals["decisions"]
            found["way-error"] = 100 - 100 * d[..., 0].sum(-1) / np.maximum(d[..., 1].sum(-1), 1e-9)
            found["class-accuracy"] = class_accuracy(d[..., 0], d[..., 1])
            found["class-error"] = 100 - found["class-accuracy"]
        if "pixel-accuracy" in self.asked and t.shape[1]:
            found["pixel-accuracy"] = self._among_seen(pixel_accuracy(i, t), t)
        if "regions" in totals:
            rom, rum, pairs = totals["regions"].T
            found |= {"ROM": rom / np.maximum(pairs, 1e-9), "RUM": rum / np.maximum(pairs, 1e-9)}
        return {name: found[name] for name in SCORES if name in found and name in self.asked}

    def _among_seen(self, mean: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """Mean (R,) over all classes -> over the classes that `drawn` (R, C) has pixels of in the truth: one that only
        a resample happens to miss is left out. What is predicted plays no part: all methods are treated alike."""
        never = int((self.truth.sum(0) == 0).sum()) if self.absent_is_zero else 0
        counted = (drawn > 0).sum(-1) + never
        return mean * drawn.shape[-1] / np.maximum(counted, 1)
