"""Answers to the controls of a blind test: how many are right, and how likely chance is.

`fsbench.protocols.blind` says what a control is, and when an answer to one is right: for any method that does not know
the organiser's truth or key, by a fair coin of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

CONTROLS = 24
"""Controls of a test, where its data set has images with several classes."""
FALSE_ALARM = 0.001
"""Largest probability that an honest method is called betrayed; exact, since the coins are fair."""


def chance(right: int, told: int) -> float:
    """Return the probability that `right` or more of `told` fair coins show heads.

    >>> chance(0, 0), chance(10, 10) < FALSE_ALARM < chance(9, 10)
    (1.0, True)
    """
    return sum(comb(told, number) for number in range(right, told + 1)) / 2**told


@dataclass(frozen=True)
class ControlOutcome:
    """Answers to the controls of a test.

    Attributes:
        controls: their number.
        told: answers that favour one of the two classes.
        right: those of them that favour the class that was asked.
    """

    controls: int
    told: int
    right: int

    @classmethod
    def from_answers(cls, answers: Sequence[bool | None]) -> "ControlOutcome":
        """Sum the outcomes of `fsbench.protocols.blind.BlindTest.is_right`."""
        told = [answer for answer in answers if answer is not None]
        return cls(len(answers), len(told), sum(told))

    @property
    def betrayed(self) -> bool:
        """True if an honest method would hardly be right so often."""
        return chance(self.right, self.told) <= FALSE_ALARM

    @property
    def words(self) -> str:
        """The outcome in a few words."""
        if not self.controls:
            return "no controls, which need a query that shows two classes, and supports of other classes"
        counts = (
            f"{self.right} of {self.told} answers that favour a class favour the right one "
            f"({self.controls} controls; by chance with probability {chance(self.right, self.told):.2g})"
        )
        if self.betrayed:
            return f"BETRAYED by its controls: {counts}"
        if chance(self.told, self.told) > FALSE_ALARM:
            return f"too few answers to its controls to betray it: {counts}"
        return f"not betrayed by its controls: {counts}"
