"""The episodes of a study as columns, which the explorer's page filters and draws."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fsbench.data.annotations import ANNOTATIONS
from fsbench.pages.report.collect import Study
from fsbench.pages.report.episodes import FoldEpisodes
from fsbench.records.record import Record

NO_IOU, NO_RUN = -1, -2
"""Stand for an episode without an IoU, and for a method that has no run of the fold."""


def explorer_columns(study: Study) -> dict[str, Any]:
    """Return the table of episodes that the explorer, the page for browsing single episodes, loads first.

    Each list in `columns`, and each method's list in `iou` and `wrong`, has one value for every episode, fold after
    fold; shares and IoUs are in thousandths:

    - `size`: share of the query that shows any way, void included in the query;
    - `empty`: 1 if the query shows none of the ways, 0 if it does or no run has counts;
    - `spread`: difference of the largest and the smallest IoU of the methods, see `iou_spread`;
    - `iou`, `wrong`: for each method the IoU, and the number of ways whose presence is decided wrongly.

    `told` has for each method the words for the labels that it got in place of its supports' masks, such as boxes; see
    `told_words`. In `folds` each fold has `runs`: the folder of each method's run, quoted for a command line, or None.
    """
    labels, names = list(study.methods), _Names()
    columns: dict[str, list[Any]] = {
        key: []
        for key in (
            "index",
            "query",
            "query_class",
            "classes",
            "supports",
            "augmented",
            "size",
            "empty",
            "shots",
            "spread",
        )
    }
    iou: list[list[int]] = [[] for _ in labels]
    wrong: list[list[int]] = [[] for _ in labels]
    folds: list[dict[str, Any]] = []
    classes: dict[str, str] = {}
    for fold, episodes in study.folds.items():
        record = next(runs[fold] for runs in study.shown.values() if fold in runs)
        folds.append(
            {
                "fold": fold,
                "count": len(episodes.episodes),
                "sha256": record.manifest_sha256,
                "header": record.manifest.entries,
                "runs": [shlex.quote(str(runs[fold].path)) if fold in runs else None for runs in study.shown.values()],
            }
        )
        classes |= {str(number): name for number, name in episodes.class_names.items()}
        for episode in episodes.episodes:
            columns["index"].append(episode.number)
            columns["query"].append(names.number(episode.query))
            columns["query_class"].append(episode.query_class)
            columns["classes"].append(list(episode.classes))
            columns["supports"].append([[names.number(name) for name in way] for way in episode.supports])
            columns["augmented"].append(int(episode.augmented))
            columns["shots"].append(max(map(len, episode.supports)))
        columns["size"] += _thousandths(episodes.size)
        columns["empty"] += (episodes.size == 0).astype(int).tolist()
        columns["spread"] += _thousandths(iou_spread(list(episodes.iou.values()), len(episodes.episodes)))
        for number, label in enumerate(labels):
            iou[number] += _method_values(episodes, episodes.iou, label, _thousandths)
            wrong[number] += _method_values(episodes, episodes.wrong, label, np.ndarray.tolist)
    told = {number: told_words(next(iter(runs.values()))) for number, runs in enumerate(study.shown.values())}
    return {
        "methods": labels,
        "told": {str(number): words for number, words in told.items() if words},
        "classes": classes,
        "names": names.all,
        "folds": folds,
        "columns": columns,
        "iou": iou,
        "wrong": wrong,
    }


def told_words(record: Record) -> str:
    """Say which labels a method got instead of masks of its supports, such as boxes; "" if it got masks."""
    identity = record.run.identity
    weak = ANNOTATIONS[identity.support_annotation].words
    share = f"{100 * identity.kept_support:g} % of " if identity.kept_support < 1 else ""
    return share + (weak or "each mask") if weak or share else ""


def iou_spread(iou: Sequence[np.ndarray], episodes: int) -> np.ndarray:
    """Return (E,): the largest minus the smallest IoU among methods in each episode; NaN if no method has an IoU.

    A method that correctly predicts nothing counts as 1 if another method has an IoU.

    Args:
        iou: for each method (E,) IoUs from 0 to 1.
        episodes: number E of episodes.
    """
    if not iou:
        return np.full(episodes, np.nan)
    values = np.stack(iou)
    filled = np.where(np.isnan(values), 1.0, values)
    return np.where(np.isnan(values).all(0), np.nan, filled.max(0) - filled.min(0))


def _method_values(episodes: FoldEpisodes, values: Mapping[str, np.ndarray], label: str, convert: Any) -> list[int]:
    """Return the values of a method as whole numbers, `NO_RUN` for each episode where it has none."""
    missing = [NO_RUN] * len(episodes.episodes)
    return list(convert(values[label])) if label in values else missing


def _thousandths(shares: np.ndarray) -> list[int]:
    whole: list[int] = np.where(np.isnan(shares), NO_IOU, np.round(1000 * np.nan_to_num(shares))).astype(int).tolist()
    return whole


class _Names:
    """Numbers images in the order in which they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    @property
    def all(self) -> list[str]:
        return list(self._numbers)
