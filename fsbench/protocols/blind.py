"""A blind test: opaque numbers in a secret order, and controls among the episodes that nobody can answer.

A *control* is an episode that counts for nothing. Its query shows two classes or more, and its supports are those of
another episode, none of whose classes the query shows. One of the query's two largest classes is the *asked* one, by a
coin that follows from the secret and that nothing in the episode depends on. Whoever answers may find objects, even all
of them; which of the two was asked can be known only from the organiser's truth or key.

The rule: an answer is *right* where the intersection over union of its foreground with the asked class exceeds that
with the other class, *wrong* where it is less, and favours neither where both are equal. Whatever the method is, each
answer that favours a class is right with probability 1/2, independently of the others. What follows from their number
stands in `fsbench.scores.controls`.
"""

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import VOID
from fsbench.data.episodes.episode import Episode
from fsbench.protocols.segmentation import Segmentation
from fsbench.protocols.test import Test
from fsbench.scores.confusion import COUNTS
from fsbench.scores.controls import CONTROLS

LEAST_SHARE = 0.005
"""Share of a query's pixels that each of a control's two classes has at least."""
MOST_READ = 400
"""Queries whose label maps are looked at for controls."""


@dataclass(frozen=True)
class Control:
    """An episode that nobody can answer.

    Attributes:
        shown: the episode as whoever answers sees it, of which nothing depends on the coin: the query, and the supports
            and classes of another episode. Its number is below 0.
        asked: that episode with the asked class in place of its first way's; the truth alone is read by it.
        other: that episode with the query's other class in this place.
    """

    shown: Episode
    asked: Episode
    other: Episode


def new_secret() -> str:
    """Return a secret that nobody can foresee, 32 hexadecimal digits."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class BlindTest:
    """The episodes of a test in a secret order, with controls among them.

    All follows from the test and the secret, by hashes: who has both finds the same numbers, controls and coins.

    Attributes:
        test: with the truth.
        secret: see `new_secret`.

    Raises:
        SettingsError: the test is none of segmentation with supports of every class.

    Examples:
        >>> import fsbench
        >>> blind = BlindTest(fsbench.load_test("demo", protocol="pfenet", episodes=5), "00" * 16)
        >>> len(blind.order), len(blind.controls), sorted(blind.numbers)
        (29, 24, [0, 1, 2, 3, 4])
    """

    test: Test
    secret: str

    def __post_init__(self) -> None:
        protocol = self.test.protocol
        if not isinstance(protocol, Segmentation) or protocol.asks_base_classes:
            raise SettingsError(
                f"the protocol {protocol.name} has no blind test; expected one of segmentation in which every class "
                "has supports (see: fsbench list protocols)"
            )

    def _digest(self, *words: Any) -> bytes:
        text = " ".join(map(str, (self.secret, self.test.manifest.sha256, *words)))
        return hashlib.sha256(text.encode()).digest()

    @cached_property
    def controls(self) -> tuple[Control, ...]:
        """The controls; none where no query shows two classes beside supports that fit.

        Raises DataError where a label map cannot be read.
        """
        episodes = [episode for episode in self.test.manifest.episodes if not episode.calibrates]
        queries = sorted({episode.query for episode in episodes}, key=lambda name: self._digest("query", name))
        pairs: list[tuple[str, tuple[int, int], Episode]] = []
        spare: list[tuple[str, tuple[int, int], Episode]] = []
        for query in queries[:MOST_READ]:
            shown, largest = self._classes(query)
            if largest is None:
                continue
            fitting = [
                one
                for one in sorted(episodes, key=lambda one: self._digest("supports", query, one.index))
                if not shown & set(one.classes) and query not in (name for way in one.supports for name in way)
            ]
            found = [(query, largest, one) for one in islice(fitting, CONTROLS)]
            pairs += found[:1]
            spare += found[1:]
            if len(pairs) == CONTROLS:
                break
        chosen = [*pairs, *sorted(spare, key=lambda pair: self._digest("spare", pair[0], pair[2].index))][:CONTROLS]
        return tuple(self._control(place, *pair) for place, pair in enumerate(chosen))

    def _control(self, place: int, query: str, largest: tuple[int, int], donor: Episode) -> Control:
        shown = replace(donor, index=-1 - place, query=query)
        coin = self._digest("coin", place)[0] & 1
        asked, other = (
            replace(shown, classes=(number, *shown.classes[1:])) for number in (largest[coin], largest[1 - coin])
        )
        return Control(shown, asked, other)

    def _classes(self, query: str) -> tuple[set[int], tuple[int, int] | None]:
        """Return all classes that a query shows, and the two that it shows most of, if these are large enough."""
        pixels, total = self.test.index.class_pixels(query)
        shown = {number: count for number, count in pixels.items() if number not in (0, VOID) and count}
        first = sorted(shown, key=lambda number: (-shown[number], number))[:2]
        enough = len(first) == 2 and shown[first[1]] >= LEAST_SHARE * total
        return set(shown), (first[0], first[1]) if enough else None

    @cached_property
    def order(self) -> tuple[Episode, ...]:
        """Episodes and controls (with numbers below 0) in the order, and under the numbers from 0, of who answers."""
        every = [*self.test.manifest.episodes, *(control.shown for control in self.controls)]
        return tuple(sorted(every, key=lambda episode: self._digest("order", episode.index)))

    def __iter__(self) -> Iterator[Episode]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)

    @cached_property
    def numbers(self) -> dict[int, int]:
        """Opaque number of each episode of the test by its own."""
        return {own: opaque for own, opaque in self.all_numbers.items() if own >= 0}

    @cached_property
    def all_numbers(self) -> dict[int, int]:
        """Opaque number of each episode and control by its own number, which is below 0 for controls."""
        return {episode.index: place for place, episode in enumerate(self.order)}

    def is_right(self, number: int, answer: Any, image_size: int) -> bool | None:
        """Return whether an answer to a control is right, see the module's rule; None where it favours neither.

        Args:
            number: of the control, below 0.
            answer: as the protocol counts it.
            image_size: side of the images that the method sees.

        Raises:
            SettingsError, NumericsError: it is none that could be counted.
            DataError: a label map cannot be read.
        """
        control = self.controls[-1 - number]
        asked, other = (
            self._overlap(answer, self.test.protocol.truth(self.test.index, episode, image_size))
            for episode in (control.asked, control.other)
        )
        return None if asked == other else asked > other

    def _overlap(self, answer: Any, truth: Any) -> float:
        """Return the intersection over union of all foreground with that of a truth."""
        row = dict(zip(COUNTS, self.test.protocol.count(answer, truth).counts[0].tolist(), strict=True))
        union = row["pred"] + row["gt"] - row["tp"]
        return row["tp"] / union if union else 0.0
