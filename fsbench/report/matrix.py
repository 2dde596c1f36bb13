"""Compare a study's methods in pairs: which one is better, and whether chance alone explains it."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

from fsbench.errors import FsbenchError, RecordError
from fsbench.metrics.bootstrap import LEVEL
from fsbench.metrics.paired import RESAMPLES
from fsbench.records.record import Record, read_record
from fsbench.tables.comparable import Methods, numbers_of
from fsbench.tables.compare import Comparison, ComparisonLine, compare_methods

ALL_METRICS = 12
"""Largest number of methods that are compared in all metrics; more are compared in the first alone."""

MARGIN = 2
"""Number of resamples that may be as extreme as a difference that is still significant."""


def compare_study(
    paths: Mapping[str, Mapping[int, Path]], metrics: Sequence[str], most: int | None
) -> tuple[Comparison | None, str]:
    """Compare the methods that have runs of the same folds.

    Args:
        paths: Label -> folder of the run of each fold; the best method first.
        metrics: Metrics to compare in.
        most: Largest number of methods; None: as many as can be told apart with the usual number of resamples after
            Holm's correction. A larger number takes more resamples.

    Returns:
        The comparison, or None; and a remark on what is left out, or why there is none.
    """
    methods = {label: {fold: _record(path) for fold, path in runs.items()} for label, runs in paths.items()}
    if len(methods) < 2:
        return None, "One method alone: there is nothing to compare."
    widest: dict[int, Record] = max(methods.values(), key=lambda runs: len(runs))
    folds = set(widest)
    alike = [label for label, runs in methods.items() if set(runs) == folds]
    lines = 1 if _complete(methods, folds) else len(folds)
    limit = most if most is not None else _most_methods(lines)
    taken = {label: methods[label] for label in alike[:limit]}
    without = [label for label in methods if label not in taken]
    remarks = [f"without runs of the same folds ({numbers_of(folds)})" if len(alike) < len(methods) else ""]
    remarks += [f"beyond the {limit} best (--compare shows more)" if len(alike) > limit else ""]
    remark = f"Left out, {' or '.join(filter(None, remarks))}: {', '.join(without)}." if without else ""
    if len(taken) < 2:
        return None, f"Fewer than two methods have runs of the same folds. {remark}"
    pairs = len(taken) * (len(taken) - 1) // 2 * lines
    resamples = max(RESAMPLES, ceil(MARGIN * pairs / (1 - LEVEL)))
    try:
        return compare_methods(
            taken, metrics if len(taken) <= ALL_METRICS else metrics[:1], (), None, resamples
        ), remark
    except FsbenchError as error:
        return None, f"Not compared: {error}"


def _record(path: Path) -> Record:
    record = read_record(path)
    if record is None:
        raise RecordError(f"{path} was removed while the report was made; make the report again")
    return record


def _complete(methods: Methods, folds: set[int]) -> bool:
    """True if `folds` are all folds of the task, so that methods are compared by their mean."""
    first = next(runs for runs in methods.values() if set(runs) == folds)
    return len(folds) == int(next(iter(first.values())).header["folds"])


def _most_methods(lines: int) -> int:
    """Return the largest number of methods, with `lines` tests for each pair, of which one pair can be significant."""
    count = 2
    while MARGIN * (count + 1) * count // 2 * lines / (RESAMPLES + 1) < 1 - LEVEL:
        count += 1
    return count


def matrix_cells(
    lines: Sequence[ComparisonLine], fold: str
) -> dict[tuple[str, str], tuple[float, bool, ComparisonLine]]:
    """Return the cells of a fold's matrix.

    Returns:
        (row, column) -> points by which the row's method is higher, whether that is significant, and the line.
    """
    cells = {}
    for line in lines:
        if line.fold == fold:
            pair = line.difference
            cells[pair.method, pair.other] = (pair.difference.value, line.significant, line)
            cells[pair.other, pair.method] = (-pair.difference.value, line.significant, line)
    return cells
