"""A study's figures in the shapes that pages show: heat maps, scales, and the data of the gallery."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fsbench.report.collect import Study
from fsbench.report.gallery import Pictures
from fsbench.stats import Interval
from fsbench.tables import Block


@dataclass(frozen=True)
class Heat:
    """Scores of methods (rows) by column; None where there is none."""

    rows: list[str]
    columns: list[str]
    values: list[list[Interval | None]]

    def lines(self) -> list[list[str]]:
        return [
            [name, *("" if i is None else f"{i.value:.4f}" for i in line)]
            for name, line in zip(self.rows, self.values, strict=True)
        ]


def fold_heat(study: Study, metric: str) -> Heat:
    """The score of every method on every fold, and the mean; nothing where there are no folds."""
    table = [row for row in study.rows if row.fold != "all"]
    found = {(row.method, row.fold): row.scores.get(metric) for row in table}
    rows = list(dict.fromkeys(row.method for row in table))
    columns = sorted({row.fold for row in table}, key=lambda fold: (fold == "mean", len(fold), fold))
    return Heat(rows, columns, [[found.get((name, fold)) for fold in columns] for name in rows])


def class_heat(study: Study, metric: str) -> Heat:
    """The score of every method on every class; a class is tested on one fold."""
    table = [row for row in study.rows if row.fold != "all"]
    found: dict[tuple[str, str], Interval | None] = {}
    columns: dict[str, None] = {}
    for row in table:
        for name, cell in row.by_class.items():
            if row.fold != "mean":
                column = f"{name} (fold {row.fold})"
                columns[column] = None
                found[row.method, column] = cell.scores.get(metric)
    rows = list(dict.fromkeys(row.method for row in table))
    ordered = sorted(columns, key=lambda name: name.rpartition(" ")[2])
    return Heat(rows, ordered, [[found.get((name, column)) for column in ordered] for name in rows])


def score_scale(block: Block, metric: str) -> tuple[float, float]:
    """Ends of the little axes of a column: those of all intervals."""
    ends = [end for row in block.rows if (i := row.scores.get(metric)) for end in (i.low, i.high)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def gallery_data(study: Study, pictures: Pictures) -> tuple[dict[str, Any], list[list[Any]]]:
    """What the gallery's page shows, IoU in thousandths and -1 where there is none; and the same as lines."""
    labels = list(study.methods)
    folds: list[dict[str, Any]] = []
    lines: list[list[Any]] = [["fold", "episode", "query", "classes", *labels]]
    for fold, f in study.folds.items():
        names = [[f.class_names.get(number, str(number)) for number in episode.classes] for episode in f.episodes]
        columns = {label: _thousandths(iou) for label, iou in f.iou.items()}
        for i, episode in enumerate(f.episodes):
            values = [columns[label][i] if label in columns else "" for label in labels]
            lines.append([fold, episode.index, episode.query, " + ".join(names[i]), *(_share(v) for v in values)])
        folds.append(
            {
                "fold": fold,
                "index": [episode.index for episode in f.episodes],
                "query": [episode.query for episode in f.episodes],
                "support": [[list(way) for way in episode.supports] for episode in f.episodes],
                "classes": names,
                "iou": [columns.get(label) for label in labels],
                "right": [[int(r) for r in f.right[label]] if label in f.right else None for label in labels],
                "pictures": {str(index): entry for index, entry in pictures.files.get(fold, {}).items()},
            }
        )
    return {"methods": labels, "folds": folds}, lines


def _thousandths(iou: np.ndarray) -> list[int]:
    return np.where(np.isnan(iou), -1, np.round(1000 * np.nan_to_num(iou))).astype(int).tolist()


def _share(value: Any) -> str:
    return "" if value in ("", -1) else f"{value / 1000:.3f}"
