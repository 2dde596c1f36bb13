"""The product's scores of label maps under FSSDINO's protocol, and the matrix that defines them (fssdino.md §4)."""

import numpy as np

from fsbench.scores.answers import count
from fsbench.scores.confusion import COUNTS, background_intersection_union, intersection_union
from fsbench.scores.statistics import ScoreStatistics
from tests.goldens.meters import protocol_statistics


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels (classes, classes) int64 by the definition, a row for each true class, background included."""
    pairs = truth.astype(np.int64).ravel() * classes + predicted.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def counted(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the product's counts (B, classes, 6) of label maps (B, H, W) in which class c is way c."""
    maps = zip(truth, predicted, strict=True)
    tables = [count(p, t, classes - 1) for t, p in maps]
    return np.stack(tables)


def class_iou(counts: np.ndarray) -> np.ndarray:
    """Return the IoU (classes,) of summed counts, the background first."""
    total = counts.sum(0)
    hits, unions = intersection_union(total[1:], "background")
    background = background_intersection_union(total[0], "background")
    return np.array([background[0], *hits]) / np.maximum([background[1], *unions], 1)


def protocol_scores(counts: np.ndarray) -> dict[str, float]:
    """Return the scores of a record with these counts, an episode each."""
    rows = [
        {
            "episode": episode,
            "slot": slot,
            "class_id": slot,
            **dict(zip(COUNTS, of_slot, strict=True)),
        }
        for episode, table in enumerate(counts.tolist())
        for slot, of_slot in enumerate(table)
    ]
    for row in rows:
        row |= {"present": row["gt"] > 0, "decided": row["pred"] > 0}
    statistics: ScoreStatistics = protocol_statistics("fssdino", rows, list(range(1, counts.shape[1])))
    return statistics.scores()


def episode_mean_iou(counts: np.ndarray) -> float:
    """Return the mean IoU of one episode's counts (classes, 6) over the classes there or predicted; 0 for none."""
    hits, unions = intersection_union(counts[1:], "background")
    seen = unions > 0
    return float((hits[seen] / (unions[seen] + 1e-6)).mean()) if seen.any() else 0.0
