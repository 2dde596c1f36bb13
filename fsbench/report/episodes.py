"""Single episodes of a study: the IoU that every method reached in each, and which of them are worth a look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from fsbench.contenders import Methods
from fsbench.counts import COUNTS, VoidPolicy, intersection_union
from fsbench.protocol import load_protocol
from fsbench.samplers import Episode

if TYPE_CHECKING:
    import polars as pl

IOU_MEANING = (
    "IoU of an episode: intersection over union of each way with a pixel in the truth or the prediction, mean over the "
    "ways; none where there is nothing to find and nothing was predicted. Runs are not scored by its mean"
)
PICTURED_AT_MOST = 200
"""Episodes of a study, however many pairs of methods there are."""


@dataclass(frozen=True)
class FoldEpisodes:
    """A fold's episodes, in the order of their index.

    Attributes:
        episodes: of the manifest.
        class_names: of the manifest, by number.
        iou: label of a method -> (E,) from 0 to 1, NaN where there is none.
        right: label of a method -> (E,) presence is decided rightly for every way.
    """

    episodes: tuple[Episode, ...]
    class_names: Mapping[int, str]
    iou: dict[str, np.ndarray]
    right: dict[str, np.ndarray]


def episodes_by_fold(methods: Methods) -> dict[int, FoldEpisodes]:
    """By fold, the episodes of `methods`; a method without a run of the fold, or without pixel counts, is left out."""
    found: dict[int, FoldEpisodes] = {}
    for fold in sorted({fold for runs in methods.values() for fold in runs}):
        runs = {label: of[fold] for label, of in methods.items() if fold in of}
        first = next(iter(runs.values()))
        void = load_protocol(first.header["protocol"]).void
        known = {label: r.episodes for label, r in runs.items() if set(COUNTS) <= set(r.episodes.columns)}
        figures = {label: episode_figures(frame, void) for label, frame in known.items()}
        found[fold] = FoldEpisodes(
            tuple(sorted(first.manifest.episodes, key=lambda episode: episode.index)),
            {int(number): name for number, name in first.header["class_names"].items()},
            {label: iou for label, (iou, _) in figures.items()},
            {label: right for label, (_, right) in figures.items()},
        )
    return found


def episode_figures(frame: "pl.DataFrame", void: VoidPolicy) -> tuple[np.ndarray, np.ndarray]:
    """IoU (E,) and whether every decision is right (E,), of the episodes of a count table by ascending index."""
    _, episode = np.unique(frame["episode"].to_numpy(), return_inverse=True)
    ways = (frame["slot"] > 0).to_numpy()
    counts = np.column_stack([frame[name].to_numpy() for name in COUNTS])
    intersection, union = intersection_union(counts, void)
    counted = ways & (union > 0)
    number = int(episode.max()) + 1
    ratio = np.bincount(episode[counted], intersection[counted] / union[counted], number)
    parts = np.bincount(episode[counted], minlength=number)
    iou = np.where(parts > 0, ratio / np.maximum(parts, 1), np.nan)
    wrong = ways & (frame["present"] != frame["decided"]).to_numpy()
    return iou, np.bincount(episode[wrong], minlength=number) == 0


def worth_a_look(folds: Mapping[int, FoldEpisodes], labels: Sequence[str], count: int) -> dict[int, list[int]]:
    """Fold -> positions of episodes: for each pair of `labels`, `count` in all, as many of the best, of the worst and
    of those that the two disagree about; pairs of the first labels come first, until there are PICTURED_AT_MOST."""
    chosen: dict[tuple[int, int], None] = {}
    for a, b in sorted(combinations(range(len(labels)), 2), key=sum):
        here = [(fold, labels[a], labels[b]) for fold, f in folds.items() if {labels[a], labels[b]} <= f.iou.keys()]
        if not here:
            continue
        place = [(fold, i) for fold, _, _ in here for i in range(len(folds[fold].episodes))]
        ours = np.concatenate([folds[fold].iou[first] for fold, first, _ in here])
        theirs = np.concatenate([folds[fold].iou[second] for fold, _, second in here])
        picked: dict[tuple[int, int], None] = {}
        for n, (values, sign) in enumerate(((ours + theirs, -1), (ours + theirs, 1), (_apart(ours, theirs), -1))):
            known = np.flatnonzero(~np.isnan(values))
            order = known[np.argsort(sign * values[known], kind="stable")]
            share = count // 3 + (n < count % 3)
            picked |= dict.fromkeys(place[i] for i in order[:share])
        if len(chosen | picked) > PICTURED_AT_MOST:
            break
        chosen |= picked
    return {fold: sorted(i for f, i in chosen if f == fold) for fold in folds}


def _apart(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """How much two methods disagree; one that rightly predicts nothing has IoU 1 against one that does not."""
    filled = [np.where(np.isnan(values), 1.0, values) for values in (ours, theirs)]
    return np.where(np.isnan(ours) & np.isnan(theirs), np.nan, np.abs(filled[0] - filled[1]))
