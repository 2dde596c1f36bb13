"""Paired differences of curves: between a method's points, and between methods at one number.

Two points are compared where they ask the same queries; what is hard for both then cancels. Intervals and tests are
those of all differences (statistics §2 to §5).
"""

from collections.abc import Sequence
from itertools import combinations, pairwise

from fsbench.records.counts import TRUTH
from fsbench.records.grouping import first_trainings, fold_of
from fsbench.results.rows.points import Point, paired_differences
from fsbench.results.rows.row import ResultRow
from fsbench.results.rows.scoring import Request, Sums


def curve_differences(points: Sequence[Point], request: Request, sums: Sums) -> list[ResultRow]:
    """Compare methods at several values of a number such as shots, where both sides have the same queries.

    For each method each point is compared with the one before it, and the last with the first. At each value every two
    methods are compared.

    Args:
        points: methods, each at one value, in the order in which differences are listed.
        request: the scores to compare; a score that a point lacks is left out for its pairs.
        sums: cache of the runs' statistics.

    Returns:
        The differences along each method, then those between methods at one value, each in the order of the scores and
        the points; p-values are not corrected yet.
    """
    asking: dict[tuple[object, ...], list[Point]] = {}
    for point in points:
        asking.setdefault(_queries(point), []).append(point)
    found: list[ResultRow] = []
    for alike in asking.values():
        pairs = [*_along(alike), *_between(alike)]
        found += paired_differences(pairs, request, sums) if pairs else []
    methods = list(dict.fromkeys(point.method for point in points))
    numbers = {point.scope.part: point.number for point in points}

    def place(row: ResultRow) -> tuple[bool, int, float]:
        within = methods.index(row.method) if is_along(row) else numbers[row.part]
        return not is_along(row), request.metrics.index(row.metric), within

    return sorted(found, key=place)


def is_along(row: ResultRow) -> bool:
    """Return whether a difference is between two values of one method, not between two methods at one value."""
    return bool(row.minus_part)


def _queries(point: Point) -> tuple[object, ...]:
    """Return what is equal of two points whose queries are the same, and their truth where that has one size."""
    parts: list[object] = [point.scope.part if point.is_part else None]
    for record in first_trainings(point.runs).values():
        protocol, rows = record.protocol, record.episodes
        truth = () if protocol.view.counts_at_input_size else tuple(rows[name].to_numpy().tobytes() for name in TRUTH)
        questions = tuple(protocol.draw.first_shots(episode, 0) for episode in record.manifest.episodes)
        parts.append((fold_of(record), record.header.dataset, questions, truth))
    return tuple(parts)


def _along(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    pairs = []
    for method in dict.fromkeys(point.method for point in points):
        own = sorted((point for point in points if point.method == method), key=lambda point: point.number)
        pairs += [(after, before) for before, after in pairwise(own)]
        pairs += [(own[-1], own[0])] if len(own) > 2 else []
    return pairs


def _between(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    return [(first, second) for first, second in combinations(points, 2) if first.number == second.number]
