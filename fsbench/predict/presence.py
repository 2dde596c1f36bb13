"""What a method's presence scores are worth: measured on the supports themselves, each photo left out once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb, inf

import numpy as np

from fsbench.base.errors import FsbenchError
from fsbench.predict.support import Support

LEVEL = 0.05
"""Scores tell photos with a class from photos without it where chance would order them so well this rarely."""
MOST = 10
"""Photos with a class, and photos without it, that are asked at most: the first ones."""

Scores = Callable[[Sequence[Support], Support], Mapping[str, float]]
"""Gives the presence score of each class in a photo, from other photos as supports."""


@dataclass(frozen=True)
class PresenceWorth:
    """How the presence scores of a class order support photos.

    Attributes:
        shown: Scores of photos that show the class.
        absent: Scores of photos that do not.
    """

    shown: tuple[float, ...] = ()
    absent: tuple[float, ...] = ()

    @cached_property
    def p(self) -> float:
        """The chance that scores without meaning order the photos at least as well: an exact one-sided rank test."""
        if not self.shown or not self.absent:
            return 1.0
        from scipy.stats import permutation_test, rankdata  # slow to import

        ranks = rankdata(self.shown + self.absent)
        groups = (ranks[: len(self.shown)], ranks[len(self.shown) :])
        found = permutation_test(
            groups, _rank_sum, vectorized=True, n_resamples=inf, batch=10_000, alternative="greater"
        )
        return float(found.pvalue)

    @property
    def tells(self) -> bool:
        """Whether the scores tell photos with the class from photos without it."""
        return self.p <= LEVEL

    def __str__(self) -> str:
        """Say what was measured of the class, called "it"."""
        if not self.shown or not self.absent:
            return "its score was not measured, which takes about three support photos with it and three without it"
        counts = f"{_photos(len(self.shown))} with it had {_span(self.shown)}, {len(self.absent)} without it "
        return f"left out one by one, {counts}{_span(self.absent)} (p = {self.p:.2g})"


def _rank_sum(shown: np.ndarray, absent: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(shown.sum(axis))


def _photos(number: int) -> str:
    return f"{number} support photo{'s' * (number != 1)}"


def _span(scores: Sequence[float]) -> str:
    low, high = f"{min(scores):.2f}", f"{max(scores):.2f}"
    return low if low == high else f"{low} to {high}"


def presence_worth(supports: Sequence[Support], scores: Scores) -> dict[str, PresenceWorth]:
    """Measure what presence scores are worth: each photo of the supports is asked with the others as supports.

    A class is asked only where its photos could tell at all: with three photos that show it and three that do not, say.

    Args:
        supports: Those of all classes.
        scores: Asks the method.

    Returns:
        A measurement for each class; one without scores where nothing could be measured.
    """
    names = list(dict.fromkeys(name for support in supports for name in support.classes.values()))
    photos = list(dict.fromkeys(support.image_name for support in supports))
    classes = {
        photo: {name for support in supports if support.image_name == photo for name in support.classes.values()}
        for photo in photos
    }
    asked: dict[str, tuple[list[str], list[str]]] = {}
    for name in names:
        shown = [photo for photo in photos if name in classes[photo]]
        absent = [photo for photo in photos if name not in classes[photo]]
        shown, absent = shown[:MOST] if len(shown) > 1 else [], absent[:MOST]
        if shown and 1 / comb(len(shown) + len(absent), len(shown)) <= LEVEL:  # else even a perfect order says nothing
            asked[name] = (shown, absent)
    found: dict[str, Mapping[str, float]] = {}
    for photo in photos:
        if any(photo in group for groups in asked.values() for group in groups):
            left_out = next(support for support in supports if support.image_name == photo)
            try:
                found[photo] = scores([support for support in supports if support.image_name != photo], left_out)
            except FsbenchError:  # the method takes no other number of supports, or cannot answer this photo
                return {name: PresenceWorth() for name in names}
    measured = {
        name: PresenceWorth(*(tuple(found[photo][name] for photo in group) for group in groups))
        for name, groups in asked.items()
    }
    return {name: measured.get(name, PresenceWorth()) for name in names}
