"""Changes whose figures no stored prediction gives: distributions that the run or published figures imply."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import ClassVar

from fsbench.results.why.claims import Claim
from fsbench.results.why.rules import RunCounts


class Spread(ABC):
    """A change that moves a figure by an amount that is known as a distribution alone.

    Attributes:
        axis, weight: as of `fsbench.results.why.changes.Change`.
    """

    axis: ClassVar[str]
    weight: ClassVar[float]

    @property
    @abstractmethod
    def word(self) -> str:
        """The other word."""

    @property
    @abstractmethod
    def sentence(self) -> str:
        """The change in words, as a noun phrase."""

    @property
    def meaning(self) -> str:
        """Meaning of the word, where it does not speak for itself."""
        return ""

    @property
    def offset(self) -> float:
        """Points by which the figure moves in the mean."""
        return 0.0

    @abstractmethod
    def error(self, folds: Sequence[int]) -> tuple[float, float]:
        """Return the standard error of the move of the mean over folds, and its degrees of freedom."""

    def goes_with(self, other: object) -> bool:
        """Return whether both may change at once."""
        return True


@dataclass(frozen=True)
class OtherEpisodes(Spread):
    """Another seed, another number of worker processes: other episodes of as many images, for the claimed figure.

    Both figures have a sampling error, so that their difference has √2 of the run's (statistics spec §9).

    Attributes:
        errors: fold -> standard error of the run's figure, and its degrees of freedom.
        number: of the episodes of a fold.
    """

    errors: Mapping[int, tuple[float, float]]
    number: int
    axis = "seeds"
    weight = 0.15

    @property
    def word(self) -> str:
        return "another seed, or another number of workers"

    @property
    def sentence(self) -> str:
        return f"{self.number} other episodes a fold"

    def error(self, folds: Sequence[int]) -> tuple[float, float]:
        own = [self.errors[fold] for fold in folds if fold in self.errors]
        variances = [error**2 for error, _ in own]
        total = sum(variances)
        if not total:
            return 0.0, inf
        df = total**2 / sum(square**2 / df for square, (_, df) in zip(variances, own, strict=True))
        return sqrt(2 * total) / len(own), df

    def __hash__(self) -> int:
        return hash((self.axis, self.number))


@dataclass(frozen=True)
class MeanOfFolds(Spread):
    """The mean of the test's folds in place of the run's folds alone.

    Attributes:
        folds: of the run.
        of_test: number of the test's.
        moved: points by which the mean lies above these folds.
        spread: standard deviation of that among published figures; 0 where the claimed figures of the folds tell it.
        rows: number of these published rows.
    """

    folds: tuple[int, ...]
    of_test: int
    moved: float
    spread: float = 0.0
    rows: int = 0
    axis = "folds"
    weight = 0.15

    @property
    def word(self) -> str:
        return f"the mean of {self.of_test} folds"

    @property
    def sentence(self) -> str:
        own = ", ".join(map(str, self.folds))
        told = "as claimed" if not self.rows else f"by {self.rows} published rows"
        return f"the mean of {self.of_test} folds, and not fold {own} ({told})"

    @property
    def offset(self) -> float:
        return self.moved

    def error(self, folds: Sequence[int]) -> tuple[float, float]:
        return self.spread, float(max(self.rows - 1, 1)) if self.rows else inf


USUAL_THRESHOLD = 0.5
"""Threshold at which soft masks become masks, where nobody chose another."""
_PRINTED = 0.05
"""Half a unit of the digit that programs print."""


@dataclass(frozen=True)
class BestThreshold(Spread):
    """The threshold of soft masks that is the best on the test itself, one for all folds.

    Soft masks are kept on a coarse grid, on which the figure at `USUAL_THRESHOLD` is not the run's own. How much they
    differ tells how far the grid may be trusted, and is the standard error.

    Attributes:
        by_fold: fold -> the grid's figure at each threshold.
        own: fold -> the run's own figure.
    """

    by_fold: Mapping[int, Mapping[float, float]]
    own: Mapping[int, float]
    axis = "threshold"
    weight = 0.07

    @property
    def best(self) -> float:
        """The threshold with the largest mean over folds."""
        return max(self._thresholds, key=self._mean)

    @property
    def word(self) -> str:
        return f"{self.best:g}"

    @property
    def sentence(self) -> str:
        return f"the best threshold on the test, {self.word}"

    @property
    def meaning(self) -> str:
        return "a threshold of the soft masks, which are kept at 64 x 64; ± is what that grid differs by"

    @property
    def offset(self) -> float:
        return self._mean(self.best) - self._mean(USUAL_THRESHOLD)

    def error(self, folds: Sequence[int]) -> tuple[float, float]:
        chosen = [fold for fold in folds if fold in self.by_fold]
        grid = sum(abs(self.by_fold[fold][USUAL_THRESHOLD] - self.own[fold]) for fold in chosen) / len(chosen)
        gains = [self.by_fold[fold][self.best] - self.by_fold[fold][USUAL_THRESHOLD] for fold in chosen]
        return max(grid + abs(sum(gains) / len(gains) - self.offset), _PRINTED), inf

    @property
    def _thresholds(self) -> Sequence[float]:
        return list(next(iter(self.by_fold.values())))

    def _mean(self, threshold: float) -> float:
        return sum(figures[threshold] for figures in self.by_fold.values()) / len(self.by_fold)

    def __hash__(self) -> int:
        return hash((self.axis, self.best))


def spreads(run: RunCounts, claim: Claim) -> list[Spread]:
    """List the distributions that follow from a run's own episodes, and from the claimed figures of folds."""
    found: list[Spread] = []
    errors = {}
    for one in run.folds:
        estimate = run.estimate_of_fold(one.fold)
        if isfinite(estimate.error) and estimate.error > 0 and isfinite(estimate.df):
            errors[one.fold] = estimate.error, estimate.df
    if len(errors) == len(run.folds):
        found.append(OtherEpisodes(errors, min(one.frame["episode"].n_unique() for one in run.folds)))
    own = [claim.folds[one.fold] for one in run.folds if one.fold in claim.folds]
    if claim.mean is not None and len(own) == len(run.folds) < run.of_test:
        moved = claim.mean.value - sum(figure.value for figure in own) / len(own)
        found.append(MeanOfFolds(tuple(one.fold for one in run.folds), run.of_test, moved))
    return found
