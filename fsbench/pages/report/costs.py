"""Costs of methods, from their runs, and the Pareto front of score against cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from fsbench.pages.report.collect import Study
from fsbench.records.grouping import all_runs
from fsbench.results.costs import PLOTTED
from fsbench.scores.estimate import Estimate

TIMED = 100
"""Episodes that a run has at least where its speed is plotted, and a front drawn through its score."""


@dataclass(frozen=True)
class RunCost:
    """Score of a method, and its costs as {"trainable", "total", "seconds" or "memory": value, None if unknown}."""

    method: str
    score: Estimate
    values: dict[str, float | None]


def run_costs(study: Study, metric: str) -> list[RunCost]:
    """Return score and costs of all methods that have the score: mean seconds over runs, else the largest value."""
    found = []
    for label, scores in study.shown_scores.items():
        if metric in scores:
            costs = [record.run.cost for record in all_runs(study.methods[label])]
            found.append(RunCost(label, scores[metric], {kind: each.value(costs) for kind, each in PLOTTED.items()}))
    return found


def fewest_episodes(study: Study) -> int:
    """Return the number of episodes of the study's run that has the fewest."""
    return min(record.header.requested for record in study.records)


def devices(study: Study) -> list[str]:
    """Return the names of the devices on which time and memory were measured."""
    names = (record.run.provenance.device for record in study.records)
    return sorted({device for device in names if device})


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of points (cost, score) that no other point beats.

    A point is beaten by a higher score at the same or a lower cost, and by the same score at a lower cost.
    """
    return [
        i
        for i, (cost, score) in enumerate(points)
        if not any((c <= cost and s > score) or (c < cost and s >= score) for c, s in points)
    ]
