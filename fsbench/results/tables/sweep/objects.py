"""Score by the number of objects of the class in the query, of finished runs: parts of each run, side by side."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.records.grouping import comparable, fold_of, variants
from fsbench.records.record import Record
from fsbench.results.tables.measuring.statistics import subset_statistics
from fsbench.results.tables.sweep.curves import Curve, CurvePoint, CurveTable, corrected_tables, score_notes
from fsbench.results.tables.sweep.differences import Sample, point_differences
from fsbench.scores.estimate import estimates

MOST = 5
"""Number that stands for as many objects and more."""

Objects = Callable[[Record], Mapping[tuple[int, int], int]]
"""Counts the objects of a run's queries: (episode, way from 1) -> number, 0 where the class is absent."""


def object_tables(records: Sequence[Record], objects: Objects) -> list[CurveTable]:
    """Score the (episode, way) pairs of each number of objects, a table for each set of runs that may be compared.

    Args:
        records: finished runs of segmentation.
        objects: counts objects.

    Raises:
        SettingsError: no query has any.
    """
    tables = []
    for group in comparable(records):
        metric = group[0].protocol.default_metrics[0]
        curves: list[Curve] = []
        samples: dict[str, list[Sample]] = {}
        pairs: dict[str, dict[int, int]] = {}
        for label, runs in variants(group).items():
            folds = tuple(sorted(runs, key=fold_of))
            counted = [_numbers(run, objects) for run in folds]
            points = []
            for number in range(1, MOST + 1):
                shown = [of_fold == number for of_fold in counted]
                if not all(of_fold.any() for of_fold in shown):
                    continue  # no mean of some folds only
                statistics = [
                    subset_statistics(*of) for of in zip(folds, (r.episodes for r in folds), shown, strict=True)
                ]
                scores = estimates(statistics)
                if metric not in scores:
                    continue  # objects without a pixel at the size that counts were made at
                samples.setdefault(label, []).append(Sample(label, number, folds, statistics, part=number))
                paths = tuple(str(run.path) for run in folds)
                numbers = tuple(map(fold_of, folds)) if folds[0].header.folds > 1 else ()
                points.append(CurvePoint(number, scores, None, None, paths, folds=numbers))
                pairs.setdefault(label, {})[number] = sum(int(of_fold.sum()) for of_fold in shown)
            if points:
                curves.append(Curve(label, points))
        if curves:
            curves.sort(key=lambda curve: -curve.points[0].scores[metric].value)
            every = [sample for curve in curves for sample in samples[curve.method]]
            differences = point_differences(every, [metric])
            notes = [*score_notes(curves, [metric]), *_notes(pairs)]
            title = group[0].protocol.title(group[0].header)
            tables.append(CurveTable(title, "objects", (metric,), False, (), curves, differences, notes))
    if not tables:
        raise SettingsError("no query of these runs shows a class of its episode; expected some")
    return corrected_tables(tables)


def _numbers(record: Record, objects: Objects) -> np.ndarray:
    """Return the number of objects, up to MOST, of every row of the count table; 0 of slot 0 and of absent ways."""
    counted = objects(record)
    frame = record.episodes
    pairs = zip(frame["episode"].to_list(), frame["slot"].to_list(), frame["present"].to_list(), strict=True)
    return np.array([min(counted[number, slot], MOST) if slot and present else 0 for number, slot, present in pairs])


def _notes(pairs: Mapping[str, Mapping[int, int]]) -> list[str]:
    """Explain the scores; `pairs` are the numbers of (episode, way) pairs by method and number of objects."""
    held = {label: ", ".join(f"{number}: {count}" for number, count in own.items()) for label, own in pairs.items()}
    alike = len(set(held.values())) == 1
    return [
        f"objects: regions of the class in the query's labels, connected in 8 directions, with 1 % of its pixels or "
        f"more; {MOST} stands for {MOST} and more; those that touch count as one",
        *(
            f"(episode, way) pairs{'' if alike else f' of {label}'} by number: {counts}"
            for label, counts in list(held.items())[: 1 if alike else None]
        ),
        "classes differ from number to number, so a curve is no effect of it",
    ]
