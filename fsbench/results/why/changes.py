"""Changes of one word of a test that finished predictions can follow, each a small object."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from fsbench.protocols.conditions import WITHOUT_VOID
from fsbench.protocols.segmentation import ABSENT_WORDS, PRESENT_ONLY, Absent, Void
from fsbench.results.why.rules import Rule, RunCounts
from fsbench.results.why.scores import POOLED, SCORES
from fsbench.results.why.spreads import BestThreshold, OtherEpisodes
from fsbench.scores.count_table import CountTable

LEAST_OBJECT = 2048
"""Pixels of the smallest object in the lists of PFENet and its followers (atlas-runs.md §2)."""
FEWEST = 20
"""Episodes below which nobody reports a figure."""


class Change(ABC):
    """One word of a test that is another.

    Attributes:
        axis: condition of the atlas that it changes, or what it is about where the atlas has no such condition.
        weight: how usual the change is among published programs and in disputes, as a share of all one-word changes;
            the words of an axis share it.
        phrase: the change as a noun phrase, with {} in place of `label`.
    """

    axis: ClassVar[str]
    weight: ClassVar[float]
    phrase: ClassVar[str] = "{}"

    @property
    @abstractmethod
    def word(self) -> str:
        """The other word."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The other word as `sentence` has it."""

    @property
    def sentence(self) -> str:
        """The change in words, as a noun phrase."""
        return self.phrase.format(self.label)

    @property
    def meaning(self) -> str:
        """Meaning of the word, where it does not speak for itself."""
        return ""

    @abstractmethod
    def changed(self, rule: Rule) -> Rule:
        """Return `rule` with the other word."""

    def goes_with(self, other: object) -> bool:
        """Return whether both may change at once."""
        return True


@dataclass(frozen=True)
class VoidChange(Change):
    """Another rule for void pixels."""

    void: Void
    axis = "void"
    weight = 0.15

    @property
    def word(self) -> str:
        return {"ignore": "ignored", "background": "background", "present": POOLED + PRESENT_ONLY}[self.void]

    @property
    def label(self) -> str:
        words = {
            "ignore": "void ignored", "background": "void as background",
            "present": "classes counted only where the truth shows them",
        }  # fmt: skip
        return words[self.void]

    def changed(self, rule: Rule) -> Rule:
        return replace(rule, void=self.void)


@dataclass(frozen=True)
class SizeChange(Change):
    """Another size at which answer and truth are compared."""

    size: str
    axis = "compared_at"
    weight = 0.15
    phrase = "compared at {}"

    @property
    def word(self) -> str:
        return self.size

    @property
    def label(self) -> str:
        return f"'{self.size}'"

    def changed(self, rule: Rule) -> Rule:
        return replace(rule, compared_at=self.size)


@dataclass(frozen=True)
class ScoreChange(Change):
    """Another score under the same name."""

    score: str
    axis = "metric"
    weight = 0.15
    phrase = "{} as the score"

    @property
    def word(self) -> str:
        return self.score

    @property
    def label(self) -> str:
        return self.score

    @property
    def meaning(self) -> str:
        return SCORES[self.score].meaning

    def changed(self, rule: Rule) -> Rule:
        return replace(rule, score=self.score)


@dataclass(frozen=True)
class AbsentChange(Change):
    """Another rule for a class without an episode."""

    absent: Absent
    axis = "absent classes"
    weight = 0.05

    @property
    def word(self) -> str:
        return POOLED + ABSENT_WORDS[self.absent]

    @property
    def label(self) -> str:
        words = {
            "zero": "a class without an episode counts as 0", "left_out": "a class without an episode is left out",
            "nan": "a class without an episode leaves no mean",
        }  # fmt: skip
        return words[self.absent]

    def changed(self, rule: Rule) -> Rule:
        return replace(rule, absent=self.absent)


@dataclass(frozen=True)
class FoldChange(Change):
    """One fold in place of the mean."""

    fold: int
    axis = "folds"
    weight = 0.15
    phrase = "{} alone"

    @property
    def word(self) -> str:
        return f"fold {self.fold}"

    @property
    def label(self) -> str:
        return f"fold {self.fold}"

    def changed(self, rule: Rule) -> Rule:
        return replace(rule, folds=(self.fold,))


@dataclass(frozen=True)
class ClassChange(Change):
    """A class that is left out."""

    number: int
    name: str
    drops_classes: ClassVar[bool] = True
    axis = "classes"
    weight = 0.05
    phrase = "the class {} left out"

    @property
    def word(self) -> str:
        return f"without {self.name}"

    @property
    def label(self) -> str:
        return self.name

    def changed(self, rule: Rule) -> Rule:
        return replace(rule, parts=(*rule.parts, self))

    def keeps(self, table: CountTable) -> np.ndarray:
        return np.asarray(table.column("class_id") != self.number)

    def classes(self, numbers: Sequence[int]) -> list[int]:
        return [number for number in numbers if number != self.number]


@dataclass(frozen=True)
class FirstEpisodes(Change):
    """The first episodes of each fold alone."""

    number: int
    drops_classes: ClassVar[bool] = False
    axis = "episodes_per_fold"
    weight = 0.08
    phrase = "the first {} episodes"

    @property
    def word(self) -> str:
        return str(self.number)

    @property
    def label(self) -> str:
        return str(self.number)

    def changed(self, rule: Rule) -> Rule:
        return replace(rule, parts=(*rule.parts, self))

    def keeps(self, table: CountTable) -> np.ndarray:
        episode = table.column("episode")
        every = np.unique(episode)
        return np.asarray(np.isin(episode, every[: self.number]))

    def classes(self, numbers: Sequence[int]) -> list[int]:
        return list(numbers)


@dataclass(frozen=True)
class LargeObjects(Change):
    """Queries whose object has so many pixels alone."""

    least: int = LEAST_OBJECT
    drops_classes: ClassVar[bool] = False
    axis = "min_object"
    weight = 0.07
    phrase = "queries with {} pixels of the class alone"

    @property
    def word(self) -> str:
        return f"{self.least} (of the query)"

    @property
    def label(self) -> str:
        return str(self.least)

    def changed(self, rule: Rule) -> Rule:
        return replace(rule, parts=(*rule.parts, self))

    def keeps(self, table: CountTable) -> np.ndarray:
        return np.asarray(table.column("gt") >= self.least)

    def classes(self, numbers: Sequence[int]) -> list[int]:
        return list(numbers)


class AnswersChange(Change):
    """Other answers than the run's own, whose counts are at hand (`FoldCounts.others`).

    They are counted at their own size alone, and with their own threshold.
    """

    has_own_rows: ClassVar[bool] = False

    @property
    def label(self) -> str:
        return self.word

    def changed(self, rule: Rule) -> Rule:
        return replace(rule, answers=self)

    def goes_with(self, other: object) -> bool:
        return not isinstance(other, SizeChange | AnswersChange | BestThreshold)


@dataclass(frozen=True)
class DrawChange(AnswersChange):
    """Another draw of the supports of the same queries."""

    number: int
    axis = "draws of the supports"
    weight = 0.05
    phrase = "{} of the supports"

    @property
    def word(self) -> str:
        return f"draw {self.number}"


@dataclass(frozen=True)
class CheckpointChange(AnswersChange):
    """Another checkpoint of the same method, such as the best by its score on the test."""

    run: str
    axis = "checkpoint"
    weight = 0.1
    phrase = "the {}"

    @property
    def word(self) -> str:
        return f"checkpoint of {self.run}"


@dataclass(frozen=True)
class SettingChange(AnswersChange):
    """Another value of a setting of the method, its backbone or its images."""

    name: str
    own: str
    value: str
    axis = "setting"
    weight = 0.05

    @property
    def word(self) -> str:
        return f"{self.name} {self.value}"

    @property
    def label(self) -> str:
        return f"{self.word} in place of {self.own}"


@dataclass(frozen=True)
class ShotsChange(SettingChange):
    """Another rule by which K shots become one answer, such as a vote."""

    axis = "K shots"
    weight = 0.1


class EpisodesChange(AnswersChange):
    """A further run of the same method on other episodes, whose figure stands beside the run's without a pair."""

    has_own_rows = True

    def goes_with(self, other: object) -> bool:
        return super().goes_with(other) and not isinstance(other, OtherEpisodes)


@dataclass(frozen=True)
class SeedChange(EpisodesChange):
    """Another seed of the episodes, or other processes that drew them."""

    drawn_by: str
    axis = OtherEpisodes.axis
    weight = OtherEpisodes.weight
    phrase = "{} of the episodes"

    @property
    def word(self) -> str:
        return self.drawn_by


@dataclass(frozen=True)
class ListChange(EpisodesChange):
    """Another list of images."""

    lists: str
    axis = "image_lists"
    weight = 0.1
    phrase = "the list {}"

    @property
    def word(self) -> str:
        return self.lists


@dataclass(frozen=True)
class NumberChange(EpisodesChange):
    """Another number of episodes, of which a further run answered all."""

    number: int
    axis = FirstEpisodes.axis
    weight = FirstEpisodes.weight
    phrase = "a test of {} episodes a fold"

    @property
    def word(self) -> str:
        return str(self.number)


@dataclass(frozen=True)
class BaseClassesChange(EpisodesChange):
    """Base classes in the test: in place of the novel ones, or beside them in one mean over all classes."""

    has_novel: bool
    axis = "base classes"
    weight = 0.07
    phrase = "a test of {}"

    @property
    def word(self) -> str:
        return "base classes beside the novel ones" if self.has_novel else "base classes alone"

    def goes_with(self, other: object) -> bool:
        return super().goes_with(other) and not (self.has_novel and isinstance(other, FirstEpisodes))


def either(made: Sequence[Change]) -> str:
    """Name changes of one axis of which one was made, as a noun phrase.

    >>> either([FoldChange(0), FoldChange(2), FoldChange(3)])
    'fold 0, fold 2 or fold 3 alone'
    """
    *others, last = (one.label for one in made)
    return made[0].phrase.format(f"{', '.join(others)} or {last}" if others else last)


def changes(run: RunCounts) -> list[Change]:
    """List the changes of one word that the counts of a run can follow."""
    return [change for kind in (_void, _sizes, _scores, _absent, _folds, _classes, _first, _large, _answers)
            for change in kind(run)]  # fmt: skip


def _void(run: RunCounts) -> Iterator[Change]:
    has_void = run.folds[0].header.dataset not in WITHOUT_VOID
    rules: tuple[Void, ...] = ("ignore", "background", "present")
    for void in rules:
        if void != run.rule.void and (has_void or void == "present"):
            yield VoidChange(void)


def _sizes(run: RunCounts) -> Iterator[Change]:
    for size in run.folds[0].resized:
        if all(size in one.resized for one in run.folds):
            yield SizeChange(size)


def _scores(run: RunCounts) -> Iterator[Change]:
    yield from (ScoreChange(score) for score in SCORES if score != run.rule.score)


def _absent(run: RunCounts) -> Iterator[Change]:
    rules: tuple[Absent, ...] = ("zero", "left_out")
    yield from (AbsentChange(rule) for rule in rules if rule != run.rule.absent)


def _folds(run: RunCounts) -> Iterator[Change]:
    if len(run.folds) > 1:
        yield from (FoldChange(one.fold) for one in run.folds)


def _classes(run: RunCounts) -> Iterator[Change]:
    for one in run.folds:
        names = one.header.class_names
        if len(one.header.class_ids) > 1:
            yield from (ClassChange(number, names[str(number)]) for number in one.header.class_ids)


def _first(run: RunCounts) -> Iterator[Change]:
    whole = min(one.frame["episode"].n_unique() for one in run.folds)
    yield from (FirstEpisodes(number) for number in round_numbers(whole))


def round_numbers(below: int) -> list[int]:
    """Return the numbers of episodes that people choose: 1 to 9 of tens, hundreds or thousands, from a tenth on.

    >>> round_numbers(1000)
    [100, 200, 300, 400, 500, 600, 700, 800, 900]
    >>> round_numbers(60), round_numbers(1001)[-2:]
    ([20, 30, 40, 50], [900, 1000])
    """
    found = (digit * 10**power for power in range(1, 6) for digit in range(1, 10))
    return [number for number in found if max(FEWEST, below / 10) <= number < below]


def _large(run: RunCounts) -> Iterator[Change]:
    if run.rule.compared_at.startswith("original"):  # pixels of the image, not of a square
        yield LargeObjects()


def _answers(run: RunCounts) -> Iterator[Change]:
    for change in run.folds[0].others:
        if isinstance(change, AnswersChange) and all(change in one.others for one in run.folds):
            yield change
