"""`fsbench compare`: finished runs of several methods on the same episodes, and what sets the methods apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import ceil
from pathlib import Path

import numpy as np

from fsbench.contenders import Methods, check_same, find_methods, first_of, numbers_of
from fsbench.errors import SettingsError
from fsbench.grouping import notes, title
from fsbench.manifest import classifies
from fsbench.paired import RESAMPLES, Difference, alike, episodes_needed, holm, paired_differences
from fsbench.records import Record
from fsbench.scores import LOWER_IS_BETTER, Sums
from fsbench.stats import LEVEL
from fsbench.tables import ABSENT, SIZES, pairs_by_class, pairs_by_size, pairs_sums, whole_sums

BREAKDOWNS = ("fold", "size", "class")


@dataclass(frozen=True)
class Line:
    """One comparison. `part` is "all", a bin of object sizes or a class.

    `corrected` is p after Holm's correction over the lines of the same table and metric; `images` the number of query
    images that were resampled; `needed` the number of episodes a fold that would tell the two apart.
    """

    fold: str
    part: str
    difference: Difference
    corrected: float
    images: int
    needed: int | None = None

    @property
    def significant(self) -> bool:
        return self.corrected < 1 - LEVEL


@dataclass(frozen=True)
class Comparison:
    """What was compared.

    Attributes:
        title: what the runs have in common.
        methods: labels, and the folders of their runs.
        tables: kind ("all", "fold", "size", "class") -> metric -> lines.
        alike: metric -> fold -> groups of methods that are not told apart, best first.
        notes: what a reader must know.
    """

    title: str
    methods: dict[str, list[str]]
    tables: dict[str, dict[str, list[Line]]]
    alike: dict[str, dict[str, list[list[str]]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def compare(
    folders: Sequence[Path],
    metrics: Sequence[str],
    by: Sequence[str] = (),
    baseline: str | None = None,
    folds: Sequence[int] = (),
    resamples: int = RESAMPLES,
    refused: list[str] | None = None,
) -> Comparison:
    """Compare every two methods whose runs are in `folders`, or each with `baseline`.

    `folds` leaves others out. Raises RecordError where the runs are not on the same episodes, or where one is damaged,
    unless there is a list `refused` for such messages.
    """
    return compare_methods(find_methods(folders, folds, refused), metrics, by, baseline, resamples)


def compare_methods(
    methods: Methods,
    metrics: Sequence[str],
    by: Sequence[str] = (),
    baseline: str | None = None,
    resamples: int = RESAMPLES,
) -> Comparison:
    """The same of methods that were found already."""
    check_same(methods)
    images_only = any(classifies(of_fold.header) for of in methods.values() for of_fold in of.values())
    if images_only and "size" in by:
        raise SettingsError("--by size: classification has no object sizes; expected --by class, or nothing")
    pairs = _pairs(list(methods), baseline)
    together = sorted(next(iter(methods.values())))
    complete = len(together) == first_of(methods, together[0]).header["folds"] > 1

    def table(scopes: _Scopes) -> dict[str, list[Line]]:
        return _table(methods, pairs, metrics, scopes, resamples)

    single: _Scopes = {(str(fold), "all"): ([fold], _whole) for fold in together}
    mean: _Scopes = {("mean", "all"): (together, _whole)}
    tables = {"all": table(mean if complete else single)}
    if "fold" in by and complete:
        tables["fold"] = table(single)
    if "size" in by:
        scope = {"mean": together} if complete else {str(fold): [fold] for fold in together}
        tables["size"] = table({(f, name): (n, _size(name)) for f, n in scope.items() for name in (*SIZES, ABSENT)})
        for metric in ("mIoU", "pixel-accuracy"):  # an IoU means nothing where there is nothing to find
            if metric in tables["size"]:
                tables["size"][metric] = [line for line in tables["size"][metric] if line.part != ABSENT]
    if "class" in by:
        names = {f: pairs_by_class(first_of(methods, f).episodes, first_of(methods, f).header) for f in together}
        tables["class"] = table({(str(f), name): ([f], _class(name)) for f in together for name in names[f]})
    records = [record for of_method in methods.values() for record in of_method.values()]
    return Comparison(
        title(records),
        {label: [str(record.path) for _, record in sorted(of.items())] for label, of in methods.items()},
        tables,
        {metric: _groups(list(methods), metric, lines) for metric, lines in tables["all"].items()}
        if baseline is None
        else {},
        [
            *notes(records),
            *_remarks(together, complete, resamples, "episodes" if images_only else "query images"),
            *_too_few(tables, resamples),
        ],
    )


_Choose = Callable[[Record, Record], Sums | None]
"""Sums of a part of a record; the second record says which rows belong to it, the same for all methods."""

_Scopes = dict[tuple[str, str], tuple[list[int], _Choose]]
"""(fold or "mean", part) -> the folds, and the part of each."""


def _whole(record: Record, _: Record) -> Sums:
    return whole_sums(record.episodes, record.header)


def _size(name: str) -> _Choose:
    return lambda record, first: _kept(record, pairs_by_size(first.episodes)[name])


def _class(name: str) -> _Choose:
    return lambda record, first: _kept(record, pairs_by_class(first.episodes, first.header)[name])


def _kept(record: Record, keep: np.ndarray) -> Sums | None:
    return pairs_sums(record.episodes, keep, record.header) if keep.any() else None


def _pairs(labels: list[str], baseline: str | None) -> list[tuple[str, str]]:
    if baseline is None:
        return list(combinations(labels, 2))
    if baseline not in labels:
        raise SettingsError(f"no method '{baseline}' to compare with; there are: {', '.join(labels)}")
    return [(baseline, label) for label in labels if label != baseline]


def _table(
    methods: Methods,
    pairs: list[tuple[str, str]],
    metrics: Sequence[str],
    scopes: _Scopes,
    resamples: int,
) -> dict[str, list[Line]]:
    """Metric -> a line per scope (fold, part) and pair. A scope without pairs in one of its folds is left out."""
    found: dict[str, list[Line]] = {metric: [] for metric in metrics}
    for (fold, part), (numbers, choose) in scopes.items():
        parts = {
            label: [choose(records[n], first_of(methods, n)) for n in numbers] for label, records in methods.items()
        }
        filled = {label: [s.only(metrics) for s in sums if s is not None] for label, sums in parts.items()}
        if any(len(sums) < len(numbers) for sums in filled.values()):
            continue
        images = sum(len(sums.right) for sums in next(iter(filled.values())))
        episodes = round(np.mean([first_of(methods, n).episodes["episode"].n_unique() for n in numbers]))
        for metric, differences in paired_differences(filled, pairs, resamples).items():
            if metric in found:
                for d in differences:
                    needed = episodes_needed(d.difference.value, d.error, episodes) if part == "all" else None
                    found[metric].append(Line(fold, part, d, 1.0, images, needed))
    return {metric: _corrected(lines) for metric, lines in found.items() if lines}


def _corrected(lines: list[Line]) -> list[Line]:
    adjusted = holm([line.difference.p for line in lines])
    return [
        Line(line.fold, line.part, line.difference, p, line.images, line.needed)
        for line, p in zip(lines, adjusted, strict=True)
    ]


def _groups(labels: list[str], metric: str, lines: list[Line]) -> dict[str, list[list[str]]]:
    """Fold -> groups of methods, best first, no two of which are told apart."""
    groups = {}
    for fold in dict.fromkeys(line.fold for line in lines):
        here = [line for line in lines if line.fold == fold]
        scores = scores_in(here)
        told_apart = {frozenset((x.difference.method, x.difference.other)) for x in here if x.significant}
        ranked = sorted(labels, key=lambda label: scores[label], reverse=metric not in LOWER_IS_BETTER)
        groups[fold] = alike(ranked, told_apart)
    return groups


def scores_in(lines: list[Line]) -> dict[str, float]:
    """Method -> its score in lines of one fold and metric."""
    return {
        name: score
        for line in lines
        for name, score in zip((line.difference.method, line.difference.other), line.difference.scores, strict=True)
    }


def _too_few(tables: dict[str, dict[str, list[Line]]], resamples: int) -> list[str]:
    """That no line can be significant: p is never below 1 / (resamples + 1), and a correction multiplies it."""
    lines = max((len(lines) for metrics in tables.values() for lines in metrics.values()), default=0)
    least = lines / (resamples + 1)
    if least < 1 - LEVEL:
        return []
    enough = ceil(lines / (1 - LEVEL))
    return [
        f"{lines} lines in a table are too many for {resamples:,} resamples: no corrected p there can be below "
        f"{min(least, 1):.3f}, whatever differs; give --resamples {enough} or more, or fewer lines with --baseline"
    ]


def _remarks(folds: list[int], complete: bool, resamples: int, units: str) -> list[str]:
    found = [
        "difference: second minus first in points; all methods see the same episodes, so what is hard for all cancels",
        f"[low, high]: 95 % interval of the difference itself, {resamples:,} resamples of whole {units}",
        f"p: two-sided, from swapping the two methods' answers to each of the {units}; corrected: Holm over the lines "
        "of that table; * where it is below 0.05",
        "episodes: a fold, that would show a true difference of this size in 80 of 100 experiments at the level of "
        "5 %, while new episodes bring new query images",
        "one training each: how much another training's seed moves a score is not in these intervals",
    ]
    if not complete and len(folds) > 1:
        found.append(f"folds {numbers_of(folds)} only: no mean, which needs all")
    return found
