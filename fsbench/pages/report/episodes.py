"""Single episodes of a study: the IoU of every method in each, and the choice of those to draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from fsbench.data.episodes.episode import Episode
from fsbench.protocols.reading import segmentation_of
from fsbench.records.record import Record
from fsbench.scores.confusion import COUNTS
from fsbench.scores.count_table import episode_scores

if TYPE_CHECKING:
    import polars as pl

IOU_MEANING = (
    "IoU of an episode: intersection over union of each way with a pixel in the truth or the prediction, mean over the "
    "ways; none where there is nothing to find and nothing was predicted. Runs are not scored by its mean"
)
MOST_DRAWN = 200
"""Largest number of episodes drawn for a study, however many pairs of methods there are."""


@dataclass(frozen=True)
class FoldEpisodes:
    """The E tested episodes of a fold, with each method's IoU, in the order of the episodes' numbers.

    Attributes:
        episodes: The episodes of the manifest.
        class_names: {class number: name}.
        iou: {label of a method: (E,) mean IoU of the episode's ways, from 0 to 1, NaN if undefined}.
        wrong: {label of a method: (E,) number of the episode's ways whose presence the method decides wrongly}.
        size: (E,) share of the query's pixels that show any of the ways, from 0 to 1; NaN if no method has pixel
            counts.
    """

    episodes: tuple[Episode, ...]
    class_names: Mapping[int, str]
    iou: dict[str, np.ndarray]
    wrong: dict[str, np.ndarray]
    size: np.ndarray


def episodes_by_fold(methods: Mapping[str, Mapping[int, Record]]) -> dict[int, FoldEpisodes]:
    """Return {fold: its episodes}; methods without a run of the fold or without pixel counts are left out."""
    folds: dict[int, FoldEpisodes] = {}
    for fold in sorted({fold for runs in methods.values() for fold in runs}):
        runs = {label: by_fold[fold] for label, by_fold in methods.items() if fold in by_fold}
        first = next(iter(runs.values()))
        void = segmentation_of(first.header).counting.void
        tables = {label: record.episodes for label, record in runs.items()}
        scores = {
            label: episode_scores(table, void) for label, table in tables.items() if set(COUNTS) <= set(table.columns)
        }
        episodes = tuple(sorted(first.manifest.official_episodes, key=lambda episode: episode.number))
        sizes = [object_sizes(tables[label]) for label in scores] or [np.full(len(episodes), np.nan)]
        folds[fold] = FoldEpisodes(
            episodes,
            {int(number): name for number, name in first.header.class_names.items()},
            {label: iou for label, (iou, _) in scores.items()},
            {label: wrong for label, (_, wrong) in scores.items()},
            sizes[0],
        )
    return folds


def object_sizes(frame: "pl.DataFrame") -> np.ndarray:
    """Return the share (E,) of each query's pixels, void included, that show any way, by episode number."""
    rows = frame.filter(frame["slot"] == 0).sort("episode")
    pixels = (rows["valid"] + rows["void"]).to_numpy()
    return np.asarray(rows["gt"].to_numpy() / np.maximum(pixels, 1))


def worth_a_look(folds: Mapping[int, FoldEpisodes], labels: Sequence[str], count: int) -> dict[int, list[int]]:
    """Choose episodes to draw for each pair of methods: the best, the worst, and those on which the two disagree.

    Pairs of the first labels come first, until `MOST_DRAWN` episodes are chosen.

    Args:
        folds: {fold: its episodes}.
        labels: Labels of the methods, the best first.
        count: Number of episodes for each pair, split evenly over the three kinds.

    Returns:
        {fold: indices of the chosen episodes}.
    """
    chosen: dict[tuple[int, int], None] = {}
    for a, b in sorted(combinations(range(len(labels)), 2), key=sum):
        picked = _choose_for_pair(folds, labels[a], labels[b], count)
        if len(chosen | picked) > MOST_DRAWN:
            break
        chosen |= picked
    return {fold: sorted(position for f, position in chosen if f == fold) for fold in folds}


def _choose_for_pair(
    folds: Mapping[int, FoldEpisodes], first: str, second: str, count: int
) -> dict[tuple[int, int], None]:
    """Return the chosen (fold, position) of a pair of methods, in order; empty if they share no fold."""
    shared = [fold for fold, episodes in folds.items() if {first, second} <= episodes.iou.keys()]
    if not shared:
        return {}
    places = [(fold, position) for fold in shared for position in range(len(folds[fold].episodes))]
    first_iou = np.concatenate([folds[fold].iou[first] for fold in shared])
    second_iou = np.concatenate([folds[fold].iou[second] for fold in shared])
    total = first_iou + second_iou
    picked: dict[tuple[int, int], None] = {}
    for n, lowest_first in enumerate((-total, total, -_disagreement(first_iou, second_iou))):
        known = np.flatnonzero(~np.isnan(lowest_first))
        order = known[np.argsort(lowest_first[known], kind="stable")]
        share = count // 3 + (n < count % 3)
        picked |= dict.fromkeys(places[i] for i in order[:share])
    return picked


def _disagreement(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the difference of two IoUs; rightly predicting nothing counts as 1 if the other method does not."""
    filled = [np.where(np.isnan(values), 1.0, values) for values in (first, second)]
    return np.where(np.isnan(first) & np.isnan(second), np.nan, np.abs(filled[0] - filled[1]))
