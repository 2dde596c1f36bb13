"""What a report is about: a study for each group of runs that may be compared, all of it taken from records."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from math import inf
from pathlib import Path

from fsbench.compare import Comparison
from fsbench.contenders import Methods
from fsbench.errors import FsbenchError
from fsbench.grouping import comparable, fold_of, variants
from fsbench.manifest import classifies
from fsbench.protocol import load_protocol
from fsbench.published import Figure
from fsbench.records import Record, find_records, read_record
from fsbench.report.episodes import FoldEpisodes, episodes_by_fold
from fsbench.report.matrix import compared
from fsbench.scores import sign
from fsbench.tables import Block, Row, build_blocks

CHUNK = 8
"""Runs that a process takes at a time."""


@dataclass
class Study:
    """Runs that may be compared.

    Attributes:
        number: from 1, in the order of the pages.
        block: the table, with the breakdown by class.
        records: all runs, in the order of `methods`.
        methods: label -> its run of each fold; the best first.
        folds: single episodes; none of classification, whose queries have no masks.
        pairing: the comparison of the methods in pairs, or None, and why, or which methods it leaves out.
    """

    number: int
    block: Block
    records: list[Record]
    methods: Methods
    folds: dict[int, FoldEpisodes]
    pairing: "Future[tuple[Comparison | None, str]]"

    @property
    def classifies(self) -> bool:
        """Whether it is about few-shot classification."""
        return classifies(self.records[0].header)

    @property
    def scope(self) -> str:
        """What the figures of plots are of, in words; "" where there are no folds."""
        fold = shown_fold(self.block)
        return {"mean": "mean over folds", "all": ""}.get(fold, f"fold {fold}")

    @property
    def rows(self) -> list[Row]:
        """All rows of the table, those of the best method first and of trivial answers last."""
        place = {label: n for n, label in enumerate(self.methods)}
        return sorted(self.block.rows, key=lambda row: place.get(row.method, len(place)))

    @property
    def shown_rows(self) -> list[Row]:
        """A row of each method that has the shown fold, the best first."""
        fold = shown_fold(self.block)
        rows = {row.method: row for row in self.block.rows if row.fold == fold}
        return [rows[label] for label in self.methods if label in rows]


def read_runs(folders: Iterable[Path]) -> tuple[list[Record], list[str]]:
    """The finished runs in `folders`, each once, and messages about those that cannot be used."""
    refused: list[str] = []
    found = {record.run["id"]: record for folder in folders for record in find_records(folder, refused)}
    usable = []
    for record in found.values():
        try:
            if not classifies(record.header):
                load_protocol(record.header["protocol"])
            fold_of(record)
            if record.episodes.is_empty():
                raise ValueError("no episodes")
        except FsbenchError as error:
            named = str(record.path) in str(error)
            refused.append(str(error) if named else f"{record.path}: {error}")
        except (KeyError, TypeError, ValueError) as error:  # what a manifest or run.json of another kind says
            refused.append(f"{record.path} is no record that can be shown ({type(error).__name__}: {error})")
        else:
            usable.append(record)
    return usable, refused


def collect(
    records: Sequence[Record],
    metrics: Sequence[str],
    pool: Executor,
    published: Sequence[Figure] = (),
    most: int | None = None,
) -> list[Study]:
    """The studies of `records`; of each, no more than `most` methods are compared in pairs. `pool` does what takes
    long; see `workers`."""
    groups = comparable(records)
    _warm(groups, tuple(metrics), pool)
    return [_study(number, group, metrics, pool, published, most) for number, group in enumerate(groups, 1)]


def _study(
    number: int,
    group: list[Record],
    metrics: Sequence[str],
    pool: Executor,
    published: Sequence[Figure],
    most: int | None,
) -> Study:
    (block,) = build_blocks(group, by_class=True, trivial=True, metrics=metrics, published=published)
    methods = {label: {fold_of(r): r for r in of} for label, of in variants(group).items()}
    metric, fold = block.metrics[0], shown_fold(block)
    scores = {row.method: row.scores[metric].value for row in block.rows if row.fold == fold and metric in row.scores}
    ranked = sorted(methods, key=lambda label: sign(metric) * scores[label] if label in scores else -inf, reverse=True)
    methods = {label: dict(sorted(methods[label].items())) for label in ranked}
    paths = {label: {fold: record.path for fold, record in of.items()} for label, of in methods.items()}
    pairing = pool.submit(compared, paths, block.metrics, most)
    records = [record for of in methods.values() for record in of.values()]
    return Study(
        number, block, records, methods, {} if classifies(group[0].header) else episodes_by_fold(methods), pairing
    )


def shown_fold(block: Block) -> str:
    """The fold whose figures stand for a method in plots: the mean where a method has all folds."""
    folds = [row.fold for row in block.rows if row.run or row.fold == "mean"]
    return "mean" if "mean" in folds else max(sorted(set(folds)), key=folds.count)


def _warm(groups: Sequence[Sequence[Record]], metrics: tuple[str, ...], pool: Executor) -> None:
    """Have the rows of tables made on all cores; they are kept in the cache folder, from where tables take them.

    Folds come one after the other: runs of one fold have the same query images, so the same resamples."""
    for group in groups:
        by_fold: dict[int, list[Path]] = {}
        for record in group:
            by_fold.setdefault(fold_of(record), []).append(record.path)
        single = [([path], metrics, path == of[0]) for _, of in sorted(by_fold.items()) for path in of]
        together = [([r.path for r in of], metrics, False) for of in variants(list(group)).values() if len(of) > 1]
        for tasks in (single, together):
            for _ in pool.map(_make_rows, tasks, chunksize=CHUNK):
                pass


def _make_rows(task: tuple[list[Path], tuple[str, ...], bool]) -> None:
    paths, metrics, trivial = task
    records = [record for record in map(read_record, paths) if record is not None]
    build_blocks(records, by_class=True, trivial=trivial, metrics=metrics)
