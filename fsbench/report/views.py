"""Arrange a study's scores for its pages: heat maps, scales, the data of the gallery."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fsbench.metrics.bootstrap import Interval
from fsbench.report.collect import Study
from fsbench.report.episodes import FoldEpisodes
from fsbench.report.gallery import Gallery
from fsbench.tables.blocks import Block, Row

NO_IOU = -1
"""Stands for an episode without an IoU in the gallery's data."""


@dataclass(frozen=True)
class HeatMap:
    """Scores of methods (rows) by column; None where there is none."""

    rows: list[str]
    columns: list[str]
    values: list[list[Interval | None]]

    def lines(self) -> list[list[str]]:
        """Return the rows as words: the method, then its scores or ""."""
        lines = []
        for name, scores in zip(self.rows, self.values, strict=True):
            lines.append([name, *("" if score is None else f"{score.value:.4f}" for score in scores)])
        return lines


def _heat_map(rows: list[str], columns: list[str], scores: dict[tuple[str, str], Interval | None]) -> HeatMap:
    return HeatMap(rows, columns, [[scores.get((row, column)) for column in columns] for row in rows])


def _rows_with_folds(study: Study) -> list[Row]:
    """Return the table's rows but those of classification, which has no folds."""
    return [row for row in study.rows if row.fold != "all"]


def _methods_of(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row.method for row in rows))


def fold_heat_map(study: Study, metric: str) -> HeatMap:
    """Return the score of every method on every fold, and the mean; empty where there are no folds."""
    rows = _rows_with_folds(study)
    folds = sorted({row.fold for row in rows}, key=lambda fold: (fold == "mean", len(fold), fold))
    scores = {(row.method, row.fold): row.scores.get(metric) for row in rows}
    return _heat_map(_methods_of(rows), folds, scores)


def class_heat_map(study: Study, metric: str) -> HeatMap:
    """Return the score of every method on every class; a class is tested on one fold."""
    rows = _rows_with_folds(study)
    scores: dict[tuple[str, str], Interval | None] = {}
    fold_of: dict[str, str] = {}
    for row in rows:
        if row.fold == "mean":
            continue
        for name, subset in row.by_class.items():
            column = f"{name} (fold {row.fold})"
            fold_of[column] = f"{row.fold})"
            scores[row.method, column] = subset.scores.get(metric)
    return _heat_map(_methods_of(rows), sorted(fold_of, key=fold_of.__getitem__), scores)


def score_scale(block: Block, metric: str) -> tuple[float, float]:
    """Return the least and the greatest end of a column's intervals, which its small axes span."""
    intervals = [row.scores[metric] for row in block.rows if row.scores.get(metric)]
    if not intervals:
        return 0.0, 1.0
    low = min(min(interval.low, interval.high) for interval in intervals)
    high = max(max(interval.low, interval.high) for interval in intervals)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def gallery_data(study: Study, gallery: Gallery) -> dict[str, Any]:
    """Return the data of the gallery's page; IoU is in thousandths, `NO_IOU` where there is none."""
    labels = list(study.methods)
    folds = []
    for fold, episodes in study.folds.items():
        ious = {label: _thousandths(iou) for label, iou in episodes.iou.items()}
        right = {label: decided.astype(int).tolist() for label, decided in episodes.right.items()}
        folds.append(
            {
                "fold": fold,
                "index": [episode.index for episode in episodes.episodes],
                "query": [episode.query for episode in episodes.episodes],
                "support": [[list(way) for way in episode.supports] for episode in episodes.episodes],
                "classes": _class_names(episodes),
                "iou": [ious.get(label) for label in labels],
                "right": [right.get(label) for label in labels],
                "pictures": {str(index): entry for index, entry in gallery.files.get(fold, {}).items()},
            }
        )
    return {"methods": labels, "folds": folds}


def episode_lines(study: Study) -> list[list[Any]]:
    """Return a table of all episodes with every method's IoU, its head first."""
    labels = list(study.methods)
    lines: list[list[Any]] = [["fold", "episode", "query", "classes", *labels]]
    for fold, episodes in study.folds.items():
        ious = {label: _thousandths(iou) for label, iou in episodes.iou.items()}
        for position, (episode, names) in enumerate(zip(episodes.episodes, _class_names(episodes), strict=True)):
            shares = [_share(ious[label][position]) if label in ious else "" for label in labels]
            lines.append([fold, episode.index, episode.query, " + ".join(names), *shares])
    return lines


def _class_names(episodes: FoldEpisodes) -> list[list[str]]:
    """Return the names of each episode's classes."""
    names = episodes.class_names
    return [[names.get(number, str(number)) for number in episode.classes] for episode in episodes.episodes]


def _thousandths(iou: np.ndarray) -> list[int]:
    return np.where(np.isnan(iou), NO_IOU, np.round(1000 * np.nan_to_num(iou))).astype(int).tolist()


def _share(thousandths: int) -> str:
    return "" if thousandths == NO_IOU else f"{thousandths / 1000:.3f}"
