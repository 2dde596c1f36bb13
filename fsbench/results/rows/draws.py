"""Draws of one test: the score of each draw, their mean and their standard deviation.

A test has several draws if its episodes are drawn with several seeds, if its queries are asked with several draws of
supports, or if it draws several support sets by itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite, nan

import numpy as np

from fsbench.protocols.reading import metric_named
from fsbench.records.grouping import seeds_of_tests
from fsbench.records.record import Record
from fsbench.results.rows.row import ALL, DRAWS, FOLD, ResultRow
from fsbench.scores.draws import mean_of_draws, sd_of_draws
from fsbench.scores.estimate import FEW_FREE, Estimate, Scope

DRAW, SEED = "draw", "test seed"
"""What tells the draws of a test apart: the number of the draw of its supports, or the seed of its episodes."""


def mean_part(kind: str) -> str:
    """Return the part of rows with the mean over draws and its interval for other draws from the same images."""
    return f"mean over {kind}s"


def sd_part(kind: str) -> str:
    """Return the part of rows with the standard deviation over draws."""
    return f"sd over {kind}s"


def draw_rows(draws: Mapping[int, Iterable[ResultRow]], alike: int = 0, kind: str = DRAW) -> list[ResultRow]:
    """Return a row for each draw, for their mean and for their standard deviation, by method, fold and score.

    Args:
        draws: {number of the draw: its scores or differences; those on whole tests and folds are taken}. A method
            without one of the draws has no mean, so that nobody can choose draws.
        kind: what tells the draws apart, `DRAW` or `SEED`.
        alike: number of draws that equal another one. The mean has no interval if fewer than five differ for it.
    """
    if len(draws) < 2:
        return []
    found: dict[tuple[str, str, str, str], dict[int, ResultRow]] = {}
    for number, rows in draws.items():
        for row in rows:
            if row.part_kind in (ALL, FOLD) and row.parent and isfinite(row.estimate.value):
                found.setdefault((row.method, row.minus, row.fold, row.metric), {})[number] = row
    result = []
    for of_draw in found.values():
        values = {number: row.estimate.value for number, row in of_draw.items()}
        parts = {f"{kind} {number}": Estimate(value, scope=Scope.NONE) for number, value in values.items()}
        first = next(iter(of_draw.values()))
        if len(values) == len(draws):
            mean, limits = mean_of_draws([*values.values()]), metric_named(first.metric)
            if not first.minus:
                mean = replace(mean, low=max(mean.low, limits.minimum), high=min(mean.high, limits.maximum))
            if alike and len(values) - alike <= FEW_FREE:
                mean = Estimate(mean.value, scope=Scope.NONE)
            parts[mean_part(kind)] = mean
            parts[sd_part(kind)] = Estimate(sd_of_draws([*values.values()]), scope=Scope.NONE)
        plain = replace(first, part_kind=DRAWS, trained=None, run="", corrected=nan, scores=(nan, nan))
        result += [replace(plain, part=part, estimate=estimate) for part, estimate in parts.items()]
    return result


def rows_by_draw(row: ResultRow, values: Mapping[str, np.ndarray]) -> dict[int, list[ResultRow]]:
    """Return {draw: a row for each score} from {score: (draws,) its values}; the rows share all else with `row`."""
    found: dict[int, list[ResultRow]] = {}
    for metric, of_metric in values.items():
        for number, value in enumerate(of_metric.tolist()):
            found.setdefault(number, []).append(replace(row, metric=metric, estimate=Estimate(value)))
    return found


def seed_draws(groups: Sequence[Sequence[Record]], rows: Sequence[Sequence[ResultRow]]) -> dict[int, list[ResultRow]]:
    """Return the rows of draws of tests whose episodes were drawn with several seeds.

    Args:
        groups: runs that may be compared, as `fsbench.records.grouping.comparable` groups them.
        rows: the scores, or the differences, of each group.

    Returns:
        {place of the first of a test's groups: rows of the draws}.
    """
    found = {}
    for places in seeds_of_tests(groups):
        wanted = groups[next(iter(places.values()))][0].protocol.draw.averaged_seeds
        seeds = wanted if set(wanted) & set(places) and len(places) > 1 else places
        drawn = draw_rows({seed: rows[places[seed]] if seed in places else () for seed in seeds}, kind=SEED)
        found[min(places.values())] = drawn
    return found
