"""Costs of a method, as one number from those of its runs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from fsbench.records.run import Cost


@dataclass(frozen=True)
class CostFigure:
    """Kind of cost of a method, such as peak memory, and how several runs give one number.

    Attributes:
        name: name with unit, such as "peak memory in MiB", as on axes.
        entry: name of the field of a run's `Cost` that holds the value.
        join: makes one number from the values of several runs: the largest, or for seconds the mean.
    """

    name: str
    entry: str
    join: Callable[[Sequence[float]], float | None] = max

    def value(self, costs: Iterable[Cost]) -> float | None:
        """Return this cost of a method from the costs of its runs; None if no run states it."""
        known = [float(cost) for cost in (getattr(each, self.entry) for each in costs) if cost is not None]
        return self.join(known) if known else None


def _mean_seconds(speeds: Sequence[float]) -> float | None:
    seconds = [1 / speed for speed in speeds if speed]  # a record may state that nothing was done in a second
    return fmean(seconds) if seconds else None


PLOTTED = {
    "trainable": CostFigure("trainable parameters", "trainable_parameters"),
    "total": CostFigure("all parameters", "total_parameters"),
    "seconds": CostFigure("seconds of an episode", "episodes_per_second", _mean_seconds),
    "memory": CostFigure("peak memory in MiB", "peak_mib"),
}
"""Costs that scores are plotted against: mean seconds over the runs, the largest of the rest."""
