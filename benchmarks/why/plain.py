"""Counts and scores of masks, written again without the suite's code: the claimed figures are made with them.

Plain on purpose: what is examined must not make the truth. Rows are episodes of one way, and a score takes weights of
the rows, so that a resampling of images is a matrix of weights.

Shapes: n episodes, C classes, B sets of weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

VOID = 255
NUMBERS = ("hits", "predicted", "true", "predicted on void", "void", "valid")
"""Columns of counts (n, 6)."""


def count(mask: np.ndarray, truth: np.ndarray) -> list[int]:
    """Count a mask (h, w) bool against a truth (h, w): 1 the class, 0 others, 255 void."""
    void, true = truth == VOID, truth == 1
    return [
        int((mask & true).sum()),
        int((mask & ~void).sum()),
        int(true.sum()),
        int((mask & void).sum()),
        int(void.sum()),
        int((~void).sum()),
    ]


def resize(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring a label map to another size by nearest pixels, as torch does: floor(i · in/out) in float32."""
    rows, columns = (
        np.minimum(np.floor(np.arange(size, dtype=np.float32) * (np.float32(length) / np.float32(size))), length - 1)
        for length, size in zip(labels.shape, (height, width), strict=True)
    )
    return labels.take(rows.astype(int), axis=0).take(columns.astype(int), axis=1)


@dataclass(frozen=True)
class Fold:
    """The rows of a fold.

    Attributes:
        number: of the fold.
        classes: its class numbers, with their names.
        cls: (n,) class number of each episode.
        query: (n,) number of the query image.
        counts: size -> (n, 6); "" is the run's own.
        altered: words of a change of the predictions -> (n, 6) at the run's own size.
        others: words of other answers -> their rows: of the same episodes in the same order, or of others.
    """

    number: int
    classes: Mapping[int, str]
    cls: np.ndarray
    query: np.ndarray
    counts: Mapping[str, np.ndarray]
    altered: Mapping[str, np.ndarray]
    others: Mapping[str, "Fold"]


@dataclass(frozen=True)
class Rule:
    """How a paper makes its figure.

    Attributes:
        void: "ignored", "background" or "present".
        score: "mIoU", "pooled", "with background", "episodes", "classes of episodes", "FB", "FB of classes".
        size: key of `Fold.counts`.
        folds: numbers of the folds that are averaged; None for all.
        first: episodes of each fold from the first on; None for all.
        without: number of a class that is left out; None for none.
        least: pixels of the class that a query must show.
        answers: key of `Fold.others`; "" for the run's own.
    """

    void: str
    score: str = "mIoU"
    size: str = ""
    folds: tuple[int, ...] | None = None
    first: int | None = None
    without: int | None = None
    least: int = 0
    answers: str = ""


Weights = Mapping[tuple[int, str], np.ndarray]
"""Number of a fold and words of its answers -> (B, n) how often each of their episodes counts."""


def figures(folds: Sequence[Fold], rule: Rule, weights: Weights | None = None) -> np.ndarray:
    """Return the figure of each chosen fold (F, B) in percent; B is 1 without weights."""
    found = []
    for one in folds:
        if rule.folds is None or one.number in rule.folds:
            fold = one.others[rule.answers] if rule.answers else one
            often = np.ones((1, len(fold.cls))) if weights is None else weights[one.number, rule.answers]
            found.append(score(fold, rule, often, fold.counts[rule.size]))
    return np.stack(found)


def score(fold: Fold, rule: Rule, weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the score (B,) of counts (n, 6) of a fold under weights (B, n) of its episodes."""
    hits, predicted, true, on_void, void, valid = counts.T.astype(float)
    kept = np.ones(len(counts))
    if rule.first is not None:
        kept[rule.first :] = 0
    if rule.without is not None:
        kept[fold.cls == rule.without] = 0
    kept[fold.counts[""][:, 2] < rule.least] = 0
    weights = weights * kept
    union = predicted + true - hits
    other_hits, other_union = valid - union, valid - hits
    if rule.void == "background":
        union, other_hits, other_union = union + on_void, other_hits + void - on_void, other_union + void
    elif rule.void == "present":
        hits, union = hits * (true > 0), union * (true > 0)
        shows = valid > true
        other_hits, other_union = other_hits * shows, other_union * shows
    classes = [number for number in fold.classes if number != rule.without]
    member = np.stack([fold.cls == number for number in classes]).astype(float)
    background = _ratio(weights @ other_hits, weights @ other_union)
    of_class = _ratio((weights * hits) @ member.T, (weights * union) @ member.T)
    pooled = _ratio(weights @ hits, weights @ union)
    own, there = np.where(union > 0, hits / np.maximum(union, 1), 0), (union > 0).astype(float)
    means = _ratio((weights * own) @ member.T, (weights * there) @ member.T)
    shown = (weights * there) @ member.T > 0
    found = {
        "mIoU": of_class.mean(1),
        "pooled": pooled,
        "with background": (of_class.sum(1) + background) / (len(classes) + 1),
        "episodes": _ratio(weights @ own, weights @ there),
        "classes of episodes": (means * shown).sum(1) / np.maximum(shown.sum(1), 1),
        "FB": (pooled + background) / 2,
        "FB of classes": (of_class.mean(1) + background) / 2,
    }
    return 100 * found[rule.score]


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.where(below > 0, below, 1), 0.0)


RESAMPLINGS = 200


def resample(folds: Sequence[Fold], rng: np.random.Generator) -> Weights:
    """Draw the query images of each fold with replacement, RESAMPLINGS times; answers to one list share a draw."""
    weights: dict[tuple[int, str], np.ndarray] = {}
    for fold in folds:
        weights[fold.number, ""] = _drawn(fold, rng)
        for words, other in fold.others.items():
            is_paired = np.array_equal(other.query, fold.query)
            weights[fold.number, words] = weights[fold.number, ""] if is_paired else _drawn(other, rng)
    return weights


def _drawn(fold: Fold, rng: np.random.Generator) -> np.ndarray:
    images, place = np.unique(fold.query, return_inverse=True)
    often = rng.multinomial(len(images), np.full(len(images), 1 / len(images)), RESAMPLINGS)
    return often[:, place].astype(float)
