"""Statistics of a run as they are kept with its row, so that the mean over its folds is made without its counts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fsbench.base.files.arrays import array_as_text, array_from_text
from fsbench.base.files.opening import LIMITS
from fsbench.scores.metric import Metric
from fsbench.scores.rows import Rows, RowSum
from fsbench.scores.scores import BACKGROUND, INTERSECTION, RIGHT, TRUTH, UNION
from fsbench.scores.statistics import Episodes, ScoreStatistics

_OF_PAIRS = (INTERSECTION.name, UNION.name, TRUTH.name)
_OF_EPISODES = (BACKGROUND.name, RIGHT.name)


def encode_statistics(statistics: ScoreStatistics) -> dict[str, Any] | None:
    """Return the sums of a whole run as JSON values: those of mIoU, FB-IoU and accuracy, with the images of each row.

    None where the wanted scores need other sums; then the mean over the folds is made of the counts.
    """
    whole = statistics.episodes
    if not statistics.is_whole or whole is None or statistics.sums.keys() != {*_OF_PAIRS, *_OF_EPISODES}:
        return None
    sums = {name: one for name, one in statistics.sums.items() if isinstance(one, RowSum)}
    if len(sums) < len(statistics.sums) or any(one.values.dtype.kind != "i" for one in sums.values()):
        return None
    first = sums[_OF_PAIRS[0]]
    if first.place is None:
        return None
    of_pairs = [whole.of_pair, first.place, *(sums[name].values for name in _OF_PAIRS)]
    return {
        "pairs": _encode(statistics.rows, of_pairs),
        "episodes": _encode(whole.rows, [sums[name].values for name in _OF_EPISODES]),
        "classes": first.places,
        "metrics": [metric.name for metric in statistics.metrics],
    }


def decode_statistics(values: dict[str, Any], known: Sequence[Metric]) -> ScoreStatistics:
    """Return the statistics of `encode_statistics`, whose metrics are some of `known`.

    Raises ValueError, KeyError or TypeError for other values.
    """
    classes = values["classes"]
    rows, table = _decode(values["pairs"], 2 + len(_OF_PAIRS))
    of_pair, place, *pairs = table.T
    of_rows, of_episodes = _decode(values["episodes"], 2 * len(_OF_EPISODES))
    if not isinstance(classes, int) or 8 * len(rows) * classes > LIMITS["counts"]:
        raise ValueError(f"it has {len(rows)} rows of {classes} classes")
    if not _are_places(place, classes) or not _are_places(of_pair, len(of_rows)):
        raise ValueError("its rows are about other classes or episodes than there are")
    sums = {name: RowSum(own, place, classes) for name, own in zip(_OF_PAIRS, pairs, strict=True)}
    halves = np.split(of_episodes, len(_OF_EPISODES), 1)
    sums |= {name: RowSum(own, of_episodes=True) for name, own in zip(_OF_EPISODES, halves, strict=True)}
    by_name = {metric.name: metric for metric in known}
    metrics = tuple(by_name[name] for name in values["metrics"])
    return ScoreStatistics(rows, sums, metrics, episodes=Episodes(of_rows, of_pair))


def _encode(rows: Rows, columns: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return the images of rows and columns (n,) or (n, k) of values as JSON values."""
    supports = np.empty((len(rows), 0), dtype=np.int64) if rows.support is None else rows.support
    run = np.zeros(len(rows), dtype=np.int64) if rows.run is None else rows.run
    table = np.column_stack([rows.query, rows.cls, run, supports, *columns]).astype("<i8")
    return {
        "rows": len(table),
        "width": table.shape[1],
        "supports": None if rows.support is None else supports.shape[1],
        "runs": rows.run is not None,
        "fitted": rows.fitted,
        "table": array_as_text(table),
    }


def _decode(values: dict[str, Any], columns: int) -> tuple[Rows, np.ndarray]:
    """Return the images of rows and the values (n, columns) of `_encode`."""
    number, width, supports = values["rows"], values["width"], values["supports"]
    shots = 0 if supports is None else supports
    if not all(isinstance(one, int) and one >= 0 for one in (number, width, shots)) or width != 3 + shots + columns:
        raise ValueError(f"it has {number} rows of {width} values")
    if not number or 8 * number * width > LIMITS["counts"]:
        raise ValueError(f"it has {number} rows of {width} values")
    table = array_from_text(values["table"], (number, width), "<i8")
    query, cls, run = table[:, :3].T
    support = None if supports is None else table[:, 3 : 3 + shots]
    return Rows(query, support, cls, run if values["runs"] else None, bool(values["fitted"])), table[:, 3 + shots :]


def _are_places(values: np.ndarray, number: int) -> bool:
    return bool(values.min() >= 0 and values.max() < number)
