"""Statistics of a run as they are kept with its row, so that the mean over its folds is made without its counts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fsbench.base.files.arrays import array_as_text, array_from_text
from fsbench.base.files.opening import LIMITS
from fsbench.scores.metric import Metric
from fsbench.scores.scores import BACKGROUND, INTERSECTION, RIGHT, TRUTH, UNION
from fsbench.scores.statistics import ScoreStatistics

_BY_CLASS = (INTERSECTION.name, UNION.name, TRUTH.name)
_SUMS = (*_BY_CLASS, BACKGROUND.name, RIGHT.name)


def encode_statistics(statistics: ScoreStatistics) -> dict[str, Any] | None:
    """Return the sums of a whole run by query image as JSON values: those of mIoU, FB-IoU and accuracy.

    None where the wanted scores need other sums; then the mean over the folds is made of the counts.
    """
    if not statistics.is_whole or statistics.sums.keys() != set(_SUMS):
        return None
    sums = [np.asarray(statistics.sums[name]) for name in _SUMS]
    if any(array.dtype.kind != "i" for array in sums):
        return None
    queries, classes = sums[0].shape
    return {
        "queries": queries,
        "classes": classes,
        "metrics": [metric.name for metric in statistics.metrics],
        "sums": array_as_text(np.concatenate(sums, 1, dtype=np.int64)),
    }


def decode_statistics(values: dict[str, Any], known: Sequence[Metric]) -> ScoreStatistics:
    """Return the statistics of `encode_statistics`, whose metrics are some of `known`.

    Raises ValueError, KeyError or TypeError for other values.
    """
    queries, classes = values["queries"], values["classes"]
    if not all(isinstance(number, int) and number > 0 for number in (queries, classes)):
        raise ValueError(f"it has {queries} query images and {classes} classes")
    widths = [classes] * len(_BY_CLASS) + [2] * (len(_SUMS) - len(_BY_CLASS))
    if 8 * queries * sum(widths) > LIMITS["counts"]:
        raise ValueError(f"it has sums of {queries} query images and {classes} classes")
    table = array_from_text(values["sums"], (queries, sum(widths)), "<i8")
    sums = dict(zip(_SUMS, np.split(table, np.cumsum(widths)[:-1], 1), strict=True))
    by_name = {metric.name: metric for metric in known}
    return ScoreStatistics(queries, sums, tuple(by_name[name] for name in values["metrics"]))
