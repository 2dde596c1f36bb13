"""Scores and differences of methods that were trained once."""

from collections.abc import Sequence

from fsbench.scores.estimate import Estimate
from fsbench.scores.statistics import ScoreStatistics
from fsbench.scores.trainings import Trained, differences, estimates

Runs = Sequence[ScoreStatistics]


def scores_once(runs: Runs, folds: Sequence[int] | None = None) -> dict[str, Estimate]:
    """Estimate the scores of a method; `folds` has the number of each run's fold."""
    return {name: found.these for name, found in estimates(Trained.once(runs, folds)).items()}


def differences_once(first: Runs, second: Runs, folds: Sequence[int] | None = None) -> dict[str, Estimate]:
    """Estimate the scores of the first method minus those of the second."""
    methods = {"first": Trained.once(first, folds), "second": Trained.once(second, folds)}
    found = differences(methods, [("first", "second")])
    return {metric: one.difference.these for metric, (one,) in found.items()}
