"""The methods of a study in pairs: who is better than whom, and whether chance alone may have made it so."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

from fsbench.compare import Comparison, Line, compare_methods
from fsbench.contenders import Methods, numbers_of
from fsbench.errors import FsbenchError, RecordError
from fsbench.paired import RESAMPLES
from fsbench.records import Record, read_record
from fsbench.stats import LEVEL

ALL_METRICS = 12
"""Methods up to which all metrics are compared; of more, the first metric alone."""


MARGIN = 2
"""How many of all resamples may be as extreme as a difference that is still significant among as many."""


def compared(
    paths: Mapping[str, Mapping[int, Path]], metrics: Sequence[str], most: int | None
) -> tuple[Comparison | None, str]:
    """The comparison of methods, the best first, that have the same folds, and what is left out or why there is none.

    Without `most`, as many as can be told apart with the usual number of resamples, after Holm's correction; a larger
    `most` has as many resamples as that takes.

    Args:
        paths: label -> folder of the run of each fold.
    """
    methods = {label: {fold: _record(path) for fold, path in of.items()} for label, of in paths.items()}
    if len(methods) < 2:
        return None, "One method alone: there is nothing to compare."
    widest: dict[int, Record] = max(methods.values(), key=lambda runs: len(runs))
    folds = set(widest)
    same = [label for label, runs in methods.items() if set(runs) == folds]
    lines = 1 if _complete(methods, folds) else len(folds)
    limit = most if most is not None else _most(lines)
    taken = {label: methods[label] for label in same[:limit]}
    without = [label for label in methods if label not in taken]
    remarks = [f"without runs of the same folds ({numbers_of(folds)})" if len(same) < len(methods) else ""]
    remarks += [f"beyond the {limit} best (--compare shows more)" if len(same) > limit else ""]
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
    first = next(runs for runs in methods.values() if set(runs) == folds)
    return len(folds) == int(next(iter(first.values())).header["folds"])


def _most(lines: int) -> int:
    """The largest number of methods, `lines` for each pair of them, of which one pair can be significant."""
    count = 2
    while MARGIN * (count + 1) * count // 2 * lines / (RESAMPLES + 1) < 1 - LEVEL:
        count += 1
    return count


def cells(lines: Sequence[Line], fold: str) -> dict[tuple[str, str], tuple[float, bool, Line]]:
    """(row, column) -> by how many points the row's method is higher, whether that is significant, and the line."""
    found = {}
    for line in lines:
        if line.fold == fold:
            d = line.difference
            found[d.method, d.other] = (-d.difference.value, line.significant, line)
            found[d.other, d.method] = (d.difference.value, line.significant, line)
    return found
