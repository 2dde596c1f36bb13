"""How good a method's masks and scores of presence are on labelled photos, each of which is asked without itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import comb, inf

import numpy as np

from fsbench.base.errors import FsbenchError
from fsbench.base.progress import track
from fsbench.data.dataset import VOID
from fsbench.predict.result import ImageResult, decimal
from fsbench.predict.supports import MOST_ASKED, Support

LEVEL = 0.05
"""Scores tell photos with a class from photos without it where chance would order them so well this rarely."""
TOO_FEW = "that needs about three labelled photos with it and three without it (--negative takes photos without it)"

Ask = Callable[[Support], ImageResult]
"""Function that predicts a labelled photo, with all other labelled photos as supports."""


@dataclass(frozen=True)
class ClassCheck:
    """How well one class is found in labelled images, when each is segmented with the others as supports.

    Attributes:
        name: Name of the class.
        ious: IoU of the masks of photos that show the class, from 0 to 1.
        shown: Presence scores, from 0 to 1, of photos that show the class.
        absent: Presence scores of photos that do not show the class.
        problem: A few words on why nothing was measured; "" if something was measured.
    """

    name: str
    ious: tuple[float, ...] = ()
    shown: tuple[float, ...] = ()
    absent: tuple[float, ...] = ()
    problem: str = ""

    @property
    def masks(self) -> str:
        """Return words on how good the masks of the class are, such as "cat IoU .31 (3 photos: .12 to .55)"."""
        if self.problem:
            return f"{self.name} not measured ({self.problem})"
        if not self.ious:
            return f"{self.name} not measured (label a second photo of it)"
        return f"{self.name} IoU {decimal(float(np.mean(self.ious)))} ({len(self.ious)} photos: {_span(self.ious)})"

    @cached_property
    def p(self) -> float:
        """P-value of an exact one-sided rank test: do photos with the class have higher presence scores than others?

        It is 1 if scores were not measured for photos with the class and for photos without it.
        """
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
        """Whether presence scores separate photos with the class from photos without it.

        They do if the p-value of a rank test (`p`) is at most 0.05.
        """
        return self.p <= LEVEL

    @cached_property
    def threshold(self) -> float | None:
        """Presence score above which an image shows the class; None if scores do not separate the photos.

        The threshold lies halfway between two neighbouring scores. They are chosen so that the share of photos with the
        class below it plus the share of photos without the class above it is smallest; of equally good gaps between
        scores the widest is taken.
        """
        if not self.tells:
            return None
        scores = sorted({*self.shown, *self.absent})
        shown, absent = np.array(self.shown), np.array(self.absent)

        def quality(gap: tuple[float, float]) -> tuple[float, float]:
            wrong = (shown <= gap[0]).mean() + (absent > gap[0]).mean()
            return round(-float(wrong), 9), gap[1] - gap[0]

        low, high = max(pairwise(scores), key=quality)
        return (low + high) / 2

    @property
    def presence(self) -> str:
        """Return words on whether presence scores separate photos with and without the class, and the scores measured.

        An example is "Present means a score above .83 (labelled photos with it scored .92 to .95, photos without it .52
        to .74)".
        """
        if self.problem:
            return f"Whether a photo shows it at all was not measured ({self.problem})"
        if not self.shown or not self.absent:
            return f"Whether a photo shows it at all cannot be told: {TOO_FEW}"
        seen = f"labelled photos with it scored {_span(self.shown)}, photos without it {_span(self.absent)}"
        if self.threshold is None:
            advice = "label more photos, or try another method or network"
            return f"Whether a photo shows it at all cannot be told ({seen}); {advice}"
        return f"Present means a score above {decimal(self.threshold)} ({seen})"


def _span(numbers: Sequence[float]) -> str:
    low, high = decimal(min(numbers)), decimal(max(numbers))
    return low if low == high else f"{low} to {high}"


def leave_one_out(supports: Sequence[Support], negatives: Sequence[Support], ask: Ask) -> dict[str, ClassCheck]:
    """Segment each labelled image with the others as supports, and measure masks and presence scores of each class.

    Masks are measured for classes with at least two labelled photos. Presence is measured only if there are enough
    photos for a significant result, such as three with and three without the class. Among photos without a class, those
    of `negatives` are taken first.

    Args:
        supports: Labelled images of all classes.
        negatives: Photos without any of the classes; photos that are also among the supports are left out.
        ask: Function that segments one of the labelled images by all others.

    Returns:
        {class name: how well the class was found}.
    """
    photos: dict[str, list[Support]] = {}
    for support in supports:
        photos.setdefault(support.image_name, []).append(support)
    shows = {photo: {name for one in of_photo for name in one.classes.values()} for photo, of_photo in photos.items()}
    without = {negative.image_name: negative for negative in negatives if negative.image_name not in photos}
    names = dict.fromkeys(name for support in supports for name in support.classes.values())
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for name in names:
        shown = [photo for photo in photos if name in shows[photo]][:MOST_ASKED]
        absent = [*without, *(photo for photo in photos if name not in shows[photo])][:MOST_ASKED]
        if len(shown) < 2:  # nothing is left to find it by
            shown = absent = []
        elif 1 / comb(len(shown) + len(absent), len(shown)) > LEVEL:  # even a perfect order would say nothing
            absent = []
        groups[name] = (shown, absent)
    scores: dict[str, dict[str, float]] = {}
    ious: dict[str, dict[str, float]] = {}
    asked = {photo for pair in groups.values() for group in pair for photo in group}
    for photo in track(
        [photo for photo in (*photos, *without) if photo in asked], "leaving labelled photos out", "photo"
    ):
        labelled = photos.get(photo, [])
        try:
            result = ask(labelled[0] if labelled else without[photo])
        except FsbenchError as error:  # the method takes no other number of supports, or cannot answer this photo
            return {name: ClassCheck(name, problem=str(error)) for name in names}
        scores[photo] = {presence.name: presence.score for presence in result.classes}
        ious[photo] = {name: _iou(result, labelled, name) for name in scores[photo]}
    return {
        name: ClassCheck(
            name,
            tuple(ious[photo][name] for photo in shown),
            tuple(scores[photo][name] for photo in shown) if absent else (),
            tuple(scores[photo][name] for photo in absent),
        )
        for name, (shown, absent) in groups.items()
    }


def _iou(result: ImageResult, labelled: Sequence[Support], name: str) -> float:
    """Return the IoU of a class's mask with what all supports of a photo mark as the class; void is not counted."""
    truth, counted = (np.full(result.label_map.shape, value) for value in (False, True))
    for support in labelled:
        numbers = [number for number, own in support.classes.items() if own == name]
        truth |= np.isin(support.labels, numbers)
        counted &= support.labels != VOID
    found, truth = result.mask(name) & counted, truth & counted
    return float((found & truth).sum() / max((found | truth).sum(), 1))
