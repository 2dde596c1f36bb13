"""A score by draw of the supports, of tests whose queries share one support set (fixed-supports.md §9, §10)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite

import numpy as np

from fsbench.results.rows.row import DRAWS, ResultRow
from fsbench.scores.draws import over_supports, support_luck
from fsbench.scores.estimate import FEW_FREE, Estimate, Scope
from fsbench.scores.statistics import ScoreStatistics

LUCK = "support luck"
"""Part of the rows with the standard deviation of a score over draws."""
THESE_IMAGES = "over supports, these images"
"""Part of the rows with the interval of the mean over draws for other supports and the same queries."""


def draw_rows(row: ResultRow, trainings: Sequence[ScoreStatistics]) -> Iterator[ResultRow]:
    """Yield a row for the score of each draw, for their standard deviation, and for the interval over supports.

    Tests of one draw, and scores that are no means over draws, have no such rows. Draws with equal supports, or that
    share most of them, have no interval over supports if fewer than five differ.

    Args:
        row: result row without score, whose other fields all yielded rows share.
        trainings: the statistics of each training of a method; the score of a draw is the mean over them.
    """
    for metric in trainings[0].known_metrics:
        if not metric.by_run:
            continue
        values = np.array([[part.value for part in one.parts(metric)] for one in trainings]).mean(0).tolist()
        if len(values) < 2 or not all(map(isfinite, values)):
            continue
        mean = over_supports(values)
        limited = replace(mean, low=max(mean.low, metric.minimum), high=min(mean.high, metric.maximum))
        found = {str(number): Estimate(value, scope=Scope.NONE) for number, value in enumerate(values)}
        found[LUCK] = Estimate(support_luck(values), scope=Scope.NONE)
        equal = trainings[0].rows.equal
        if not equal or len(values) - equal > FEW_FREE:
            found[THESE_IMAGES] = limited
        for part, estimate in found.items():
            yield replace(row, metric=metric.name, part_kind=DRAWS, part=part, estimate=estimate)
