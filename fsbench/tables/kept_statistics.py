"""Statistics of a run as they are kept with its row, so that the mean over its folds is made without its counts."""

from typing import Any

import numpy as np

from fsbench.files.arrays import array_as_text, array_from_text
from fsbench.files.opening import LIMITS
from fsbench.metrics.scores import ScoreStatistics

_BY_CLASS = ("intersection", "union", "truth")
_SUMS = (*_BY_CLASS, "background", "right")


def encode_statistics(statistics: ScoreStatistics) -> dict[str, Any] | None:
    """Return the sums of a whole run by query image as JSON values: those of mIoU, FB-IoU and accuracy.

    None where the wanted scores need other sums; then the mean over the folds is made of the counts.
    """
    sums: dict[str, Any] = {name: getattr(statistics, name) for name in _SUMS}
    others = {name: value for name, value in vars(statistics).items() if name not in (*_SUMS, "metrics")}
    usual = ScoreStatistics(**sums)
    if any(value is not getattr(usual, name) for name, value in others.items()):
        return None
    if any(array is None or array.dtype.kind != "i" for array in sums.values()):
        return None
    queries, classes = sums["intersection"].shape
    table = np.concatenate(list(sums.values()), 1, dtype=np.int64)
    return {
        "queries": queries,
        "classes": classes,
        "metrics": list(statistics.metrics),
        "sums": array_as_text(table),
    }


def decode_statistics(values: dict[str, Any]) -> ScoreStatistics:
    """Return the statistics of `encode_statistics`; raises ValueError, KeyError or TypeError for others."""
    queries, classes = values["queries"], values["classes"]
    if not all(isinstance(number, int) and number > 0 for number in (queries, classes)):
        raise ValueError(f"it has {queries} query images and {classes} classes")
    widths = [classes] * len(_BY_CLASS) + [2] * (len(_SUMS) - len(_BY_CLASS))
    if 8 * queries * sum(widths) > LIMITS["counts"]:
        raise ValueError(f"it has sums of {queries} query images and {classes} classes")
    table = array_from_text(values["sums"], (queries, sum(widths)), "<i8")
    sums: dict[str, Any] = dict(zip(_SUMS, np.split(table, np.cumsum(widths)[:-1], 1), strict=True))
    return ScoreStatistics(**sums, metrics=tuple(map(str, values["metrics"])))
