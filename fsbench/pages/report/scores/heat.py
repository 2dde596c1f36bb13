"""The scores of methods by class, and the scales that their colors and small axes span."""

from collections.abc import Collection
from dataclasses import dataclass
from math import floor, log10

import numpy as np

from fsbench.pages.report.collect import Study
from fsbench.protocols.reading import metric_named
from fsbench.results.rows.row import CLASS, scores_of
from fsbench.scores.estimate import Estimate

STEPS = 5
"""Number of colors on either side of zero."""

OUTSIDE = 2
"""Percentage of the differences that may lie beyond the scale of colors, so that one class does not set it for all."""

STEP_SIZES = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
"""Numbers that a scale may end at, times a power of ten."""


@dataclass(frozen=True)
class HeatMap:
    """Scores of methods by class, to draw as a heat map.

    Attributes:
        methods: Labels of the methods, the best first.
        names: Names of the classes, in the order of folds.
        folds: For each class the fold that tests it.
        values: (methods, classes) nested lists of scores; None where there is none.
    """

    methods: list[str]
    names: list[str]
    folds: list[str]
    values: list[list[Estimate | None]]

    def numbers(self) -> np.ndarray:
        """Return the scores (methods, classes), NaN where missing."""
        values = [[np.nan if score is None else score.value for score in scores] for scores in self.values]
        return np.array(values, dtype=float).reshape(len(self.methods), len(self.names))

    def differences(self, baseline: int) -> np.ndarray:
        """Return the scores (methods, classes) minus those of method number `baseline`."""
        numbers = self.numbers()
        return numbers - numbers[baseline]


def class_heat_map(study: Study, metric: str) -> HeatMap:
    """Return every method's score on every class, fold after fold."""
    lines = {line: of for line, of in study.block.parts(CLASS).items() if line[1] != "all" and line[0] in study.methods}
    places: dict[tuple[str, str], None] = {}
    scores: dict[tuple[str, tuple[str, str]], Estimate | None] = {}
    for method, fold in sorted(lines, key=lambda line: int(line[1])):
        for name, rows in lines[method, fold].items():
            places[name, fold] = None
            scores[method, (name, fold)] = scores_of(rows).get(metric)
    methods = [label for label in study.methods if any(method == label for method, _ in lines)]
    values = [[scores.get((method, place)) for place in places] for method in methods]
    return HeatMap(methods, [name for name, _ in places], [fold for _, fold in places], values)


def score_scale(study: Study, metric: str) -> tuple[float, float] | None:
    """Return (lowest, highest) end of all scores' intervals, for the axes of small plots; None if a plot is useless.

    That is so if there is a single score, whose interval would always fill the axis, if there are no intervals, or if
    all ends are equal.
    """
    lines = study.block.lines.items()
    found = [scores[metric] for (method, _), scores in lines if method in study.methods and metric in scores]
    ends = [end for each in found if each.has_interval for end in (each.low, each.high)]
    known = [*ends, *(each.value for each in found if each.value == each.value)]
    return (min(known), max(known)) if ends and len(found) > 1 and max(known) > min(known) else None


def has_thin_lines(study: Study, metrics: Collection[str]) -> bool:
    """Return whether a score in one of these metrics has two intervals: for other trainings, and for these alone."""
    return any(
        found.other is not None and found.other.has_interval and found.these.has_interval
        and (found.other.low, found.other.high) != (found.these.low, found.these.high)
        for (method, _), of_line in study.block.trained.items() if method in study.methods
        for metric, found in of_line.items() if metric in metrics
    )  # fmt: skip


def difference_scale(differences: np.ndarray) -> float:
    """Return the end of a diverging scale: a round number that few differences exceed."""
    known = np.abs(differences[~np.isnan(differences) & (differences != 0)])
    if not known.size:
        return 1.0
    most = float(np.percentile(known, 100 - OUTSIDE))
    power = 10.0 ** floor(log10(most))
    return next(float(step * power) for step in STEP_SIZES if step * power >= most - 1e-9)


def difference_level(value: float | None, scale: float, metric: str) -> str:
    """Return a difference's CSS class: b1 to b5 (better), w1 to w5 (worse), "even" or "none"."""
    if value is None or np.isnan(value):
        return "none"
    better = value * metric_named(metric).sign
    step = min(round(STEPS * abs(better) / scale), STEPS)
    return "even" if step == 0 else f"{'b' if better > 0 else 'w'}{step}"


def score_level(value: float | None, low: float, high: float) -> str:
    """Return a score's CSS class: one of 11 colors, or "none"."""
    if value is None or np.isnan(value):
        return "none"
    return f"h{round(10 * min(max((value - low) / (high - low), 0), 1))}" if high > low else "h5"
