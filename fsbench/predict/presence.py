"""The worth of a method's presence scores: measured on the supports themselves, each photo left out once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb, inf

import numpy as np

from fsbench.base.errors import FsbenchError
from fsbench.predict.supports import Support

LEVEL = 0.05
"""Scores tell photos with a class from photos without it where chance would order them so well this rarely."""
MOST = 10
"""Photos with a class, and photos without it, that are asked at most: the first ones."""


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
            groups,
            lambda shown, absent, axis: np.asarray(shown.sum(axis)),
            vectorized=True,
            n_resamples=inf,
            batch=10_000,
            alternative="greater",
        )
        return float(found.pvalue)

    @property
    def tells(self) -> bool:
        """Whether the scores tell photos with the class from photos without it."""
        return self.p <= LEVEL

    def __str__(self) -> str:
        """Say what was measured of the class, called "it"."""
        if not self.shown or not self.absent:
            return "its scores were not tested: that needs about three labelled photos with it and three without it"
        photos = f"{len(self.shown)} labelled photo{'s' * (len(self.shown) != 1)}"
        return (
            f"tested on the labelled photos, each left out once: {photos} with it scored {_span(self.shown)}, "
            f"{len(self.absent)} without it {_span(self.absent)}; p = {self.p:.2g}"
        )


def _span(scores: Sequence[float]) -> str:
    low, high = f"{min(scores):.2f}", f"{max(scores):.2f}"
    return low if low == high else f"{low} to {high}"


def presence_worth(
    supports: Sequence[Support], scores: Callable[[Sequence[Support], Support], Mapping[str, float]]
) -> dict[str, PresenceWorth]:
    """Measure what presence scores are worth: each photo of the supports is asked with the others as supports.

    A class is asked only where its photos could tell at all: with three photos that show it and three that do not, say.

    Args:
        supports: Those of all classes.
        scores: Asks the method: gives the presence score of each class in a photo, from other photos as supports.

    Returns:
        A measurement for each class; one without scores where nothing could be measured.
    """
    classes: dict[str, set[str]] = {}
    for support in supports:
        classes.setdefault(support.image_name, set()).update(support.classes.values())
    names = dict.fromkeys(name for support in supports for name in support.classes.values())
    asked: dict[str, tuple[list[str], list[str]]] = {}
    for name in names:
        shown = [photo for photo, shows in classes.items() if name in shows][:MOST]
        absent = [photo for photo, shows in classes.items() if name not in shows][:MOST]
        # of one photo nothing is left to find it by; of few even a perfect order says nothing
        if len(shown) > 1 and 1 / comb(len(shown) + len(absent), len(shown)) <= LEVEL:
            asked[name] = (shown, absent)
    found: dict[str, Mapping[str, float]] = {}
    for photo in classes:
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
