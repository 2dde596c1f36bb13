"""Score by the number of objects of the class in the query, of finished runs: parts of each run, side by side."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fsbench.errors import SettingsError
from fsbench.metrics.bootstrap import RESAMPLES, intervals
from fsbench.records.grouping import comparable, fold_of, variants
from fsbench.records.record import Record
from fsbench.tables.rescoring.statistics import subset_statistics
from fsbench.tables.sweep.curves import Curve, CurvePoint, CurveTable

MOST = 5
"""Number that stands for as many objects and more."""

Objects = Callable[[Record], Mapping[tuple[int, int], int]]
"""Counts the objects of a run's queries: (episode, way from 1) -> number, 0 where the class is absent."""


def object_tables(records: Sequence[Record], objects: Objects, resamples: int = RESAMPLES) -> list[CurveTable]:
    """Score the (episode, way) pairs of each number of objects, a table for each set of runs that may be compared.

    Args:
        records: finished runs of segmentation.
        objects: counts objects.
        resamples: of the intervals' bootstrap.

    Raises:
        SettingsError: no query has any.
    """
    tables = []
    for group in comparable(records):
        protocol = group[0].protocol
        curves, sizes = [], {}
        for label, runs in variants(group).items():
            folds = [(run, _numbers(run, objects)) for run in sorted(runs, key=fold_of)]
            points = []
            for number in range(1, MOST + 1):
                if not all((counted == number).any() for _, counted in folds):
                    continue  # no mean of some folds only
                statistics = [subset_statistics(run, run.episodes, counted == number) for run, counted in folds]
                scores = intervals(statistics, resamples)
                points.append(CurvePoint(number, scores, None, None, tuple(str(run.path) for run, _ in folds)))
                sizes[number] = sum(int((counted == number).sum()) for _, counted in folds)
            if points:
                curves.append(Curve(label, points))
        if curves:
            metric = protocol.default_metrics[0]
            curves.sort(key=lambda curve: -curve.points[0].scores[metric].value)
            held = ", ".join(f"{number}: {count}" for number, count in sorted(sizes.items()))
            title = protocol.title(group[0].header)
            tables.append(CurveTable(title, "objects", (metric,), False, (), curves, _notes(held)))
    if not tables:
        raise SettingsError("no query of these runs shows a class of its episode; expected some")
    return tables


def _numbers(record: Record, objects: Objects) -> np.ndarray:
    """Return the number of objects, up to MOST, of every row of the count table; 0 of slot 0 and of absent ways."""
    counted = objects(record)
    frame = record.episodes
    pairs = zip(frame["episode"].to_list(), frame["slot"].to_list(), frame["present"].to_list(), strict=True)
    return np.array([min(counted[number, slot], MOST) if slot and present else 0 for number, slot, present in pairs])


def _notes(held: str) -> list[str]:
    return [
        "[low, high]: 95 % interval, bootstrap over query images; scores in percent, means over folds",
        f"objects: regions of the class in the query's labels, connected in 8 directions, with 1 % of its pixels or "
        f"more; {MOST} stands for {MOST} and more; those that touch count as one",
        f"(episode, way) pairs by number: {held}; classes differ from number to number, so a curve is no effect of it",
    ]
