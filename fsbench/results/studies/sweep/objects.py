"""Score by the number of objects of the class in the query, of finished runs: parts of each run, side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.records.grouping import comparable, names_of_tests, variants
from fsbench.records.record import Record
from fsbench.results.rows.points import Point, correct_tables
from fsbench.results.rows.row import OBJECTS
from fsbench.results.rows.scoring import Request
from fsbench.results.studies.sweep.curves import SEVERAL_FOLDS, CurveTable, collect, difference_notes

MOST = 5
"""Number that stands for as many objects and more."""

Objects = Callable[[Record], Mapping[tuple[int, int], int]]
"""Counts the objects of a run's queries: (episode, way from 1) -> number, 0 where the class is absent."""


def object_tables(records: Sequence[Record], objects: Objects, asked: Request = Request(())) -> list[CurveTable]:
    """Score (episode, way) pairs by the query's number of objects, a table for each test.

    Args:
        records: finished runs of segmentation.
        objects: takes a run and returns {(episode number, way from 1): number of objects in the query}.
        asked: the scores to compute; without names, the first score of the protocol.

    Raises:
        SettingsError: no query shows any object.
    """
    counted = {record.path: _numbers(record, objects) for record in records}

    def showing(number: int, record: Record) -> np.ndarray:
        return counted[record.path] == number

    tables = []
    groups = comparable(records)
    for group, test in zip(groups, names_of_tests(groups), strict=True):
        metric = (*asked.metrics, *group[0].protocol.default_metrics)[0]
        points = [
            Point.at_number(label, OBJECTS, number, runs, partial(showing, number))
            for label, runs in variants(group).items()
            for number in range(1, MOST + 1)
        ]
        table = collect(points, Request(asked.metrics, measure=asked.measure, test=test), (metric,), OBJECTS, best_at=0)
        if table.curves:
            pairs = {curve.method: {p.number: p.scores[metric].pairs for p in curve.points} for curve in table.curves}
            tables.append(replace(table, notes=[SEVERAL_FOLDS, *_notes(pairs), *difference_notes(table.differences)]))
    if not tables:
        raise SettingsError("no query of these runs shows a class of its episode; expected some")
    return correct_tables(tables)


def _numbers(record: Record, objects: Objects) -> np.ndarray:
    """Return the number of objects, up to MOST, of every row of the count table; 0 of slot 0 and of absent ways."""
    counted = objects(record)
    frame = record.episodes
    pairs = zip(frame["episode"].to_list(), frame["slot"].to_list(), frame["present"].to_list(), strict=True)
    return np.array([min(counted[number, slot], MOST) if slot and present else 0 for number, slot, present in pairs])


def _notes(pairs: Mapping[str, Mapping[float, int]]) -> list[str]:
    """Explain the scores; `pairs` are the numbers of (episode, way) pairs by method and number of objects."""
    held = {label: ", ".join(f"{number:g}: {count}" for number, count in own.items()) for label, own in pairs.items()}
    alike = len(set(held.values())) == 1
    return [
        "objects: connected regions of the class in the query's labels (8 directions), with 1 % of its pixels or "
        f"more. Objects that touch count as one. {MOST}: {MOST} and more",
        *(
            f"(episode, way) pairs{'' if alike else f' of {label}'} by number: {counts}"
            for label, counts in list(held.items())[: 1 if alike else None]
        ),
        "other numbers of objects come with other classes, so a curve does not show the effect of the number alone",
    ]
