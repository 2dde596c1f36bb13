"""A table of all episodes of a study."""

from typing import Any

import numpy as np

from fsbench.pages.report.collect import Study
from fsbench.pages.report.episodes import FoldEpisodes


def episode_lines(study: Study) -> list[list[Any]]:
    """Return a table of all episodes with each method's IoU, as lists of cells; the first list is the heading."""
    labels = list(study.methods)
    lines: list[list[Any]] = [["fold", "episode", "query", "classes", *labels]]
    for fold, episodes in study.folds.items():
        for position, (episode, names) in enumerate(zip(episodes.episodes, _class_names(episodes), strict=True)):
            shares = [_share(episodes.iou[label][position]) if label in episodes.iou else "" for label in labels]
            lines.append([fold, episode.number, episode.query, " + ".join(names), *shares])
    return lines


def _class_names(episodes: FoldEpisodes) -> list[list[str]]:
    """Return the names of each episode's classes."""
    names = episodes.class_names
    return [[names.get(number, str(number)) for number in episode.classes] for episode in episodes.episodes]


def _share(iou: float) -> str:
    return "" if np.isnan(iou) else f"{iou:.3f}"
