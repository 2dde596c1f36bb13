"""From records to a table: rows method x fold, and a mean only where every fold is there.

Only runs of one protocol, data set and setting stand in one block; others get a block of their own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.classification import accuracy_interval, accuracy_sums
from fsbench.grouping import comparable, fold_of, notes, title, variants
from fsbench.kept_rows import kept_row
from fsbench.manifest import classifies
from fsbench.protocol import load_protocol
from fsbench.published import Beside, Figure, beside
from fsbench.records import Record
from fsbench.scores import SCORES, Sums
from fsbench.stats import Interval, episode_sums, intervals, pair_sums
from fsbench.trivial import ANSWERS, trivial_answers

if TYPE_CHECKING:
    import polars as pl

DEFAULT = ("mIoU", "FB-IoU", "accuracy")
"""Scores of a table that does not ask for others."""

SIZES = {"0-5": (0.0, 0.05), "5-10": (0.05, 0.10), "10-15": (0.10, 0.15), ">15": (0.15, np.inf)}
"""Share of the query's pixels, void included, that shows the way: [lower, upper)."""

ABSENT = "absent"
"""The pairs whose query does not show the way. The run's mIoU counts what is predicted there; by itself, its IoU would
be 0 or nothing."""


@dataclass
class Cell:
    """A part of a run: its (episode, way) pairs, the episodes they are of, and scores where there are pairs."""

    pairs: int
    episodes: int
    scores: dict[str, Interval]


@dataclass
class Row:
    """One line of a table. `fold` is a number or "mean"; `scores` maps a metric to its interval.

    `by_size` has the bins of `SIZES`, and `ABSENT`; `by_class` the names of classes. Costs are None for a mean or a
    trivial answer.
    """

    method: str
    fold: str
    scores: dict[str, Interval]
    by_size: dict[str, Cell] = field(default_factory=dict)
    by_class: dict[str, Cell] = field(default_factory=dict)
    trainable: int | None = None
    episodes_per_second: float | None = None
    peak_mib: float | None = None
    run: str = ""


@dataclass
class Block:
    """Rows that may be compared, what they have in common, and what a reader must know."""

    title: str
    rows: list[Row]
    notes: list[str]
    metrics: tuple[str, ...] = DEFAULT
    published: list[Beside] = field(default_factory=list)
    interval: str = "bootstrap over query images"


@dataclass(frozen=True)
class _Pairs:
    """Some (episode, way) pairs of one record."""

    pairs: int
    episodes: int
    sums: Sums


@dataclass(frozen=True)
class _Part:
    """The sums of one record (one fold): whole episodes, and pairs by size and by class."""

    whole: Sums
    sizes: dict[str, _Pairs]
    classes: dict[str, _Pairs]


def build_blocks(
    records: Iterable[Record],
    *,
    by_class: bool = False,
    trivial: bool = False,
    metrics: Sequence[str] = DEFAULT,
    published: Sequence[Figure] = (),
) -> list[Block]:
    """Table blocks of finished runs. `trivial` adds the answers that need no model, on the same episodes; `metrics` are
    names of `SCORES`; `published` is set beside the rows it belongs to."""
    return [
        (_image_block if classifies(group[0].header) else _block)(group, by_class, trivial, tuple(metrics), published)
        for group in comparable(records)
    ]


def _block(
    records: list[Record], by_class: bool, trivial: bool, metrics: tuple[str, ...], published: Sequence[Figure]
) -> Block:
    parts: dict[tuple[Path, str], _Part] = {}

    def part(record: Record, answer: str) -> _Part:
        if (record.path, answer) not in parts:
            frame = record.episodes
            parts[record.path, answer] = _part(trivial_answers(frame)[answer] if answer else frame, record, by_class)
        return parts[record.path, answer]

    def row(method: str, fold: str, of: list[Record], answer: str = "") -> Row:
        def make() -> dict[str, Any]:
            return asdict(_scored([part(record, answer) for record in of], by_class, metrics))

        def read(scored: dict[str, Any]) -> Row:
            scores, by_size, by_class_ = (_from_plain(scored[name]) for name in ("scores", "by_size", "by_class"))
            if by_size.keys() != {*SIZES, ABSENT}:
                raise ValueError(f"sizes are {', '.join(by_size)}")
            return Row(method, fold, scores, by_size, by_class_)

        return kept_row(of, [answer, by_class, metrics], make, read)

    rows: list[Row] = []
    reported: list[Beside] = []
    for label, members in variants(records).items():
        ordered = sorted(members, key=fold_of)
        for record in ordered:
            made, cost = row(label, str(fold_of(record)), [record]), record.run["cost"]
            made.trainable = cost["trainable_parameters"]
            made.episodes_per_second = cost["episodes_per_second"]
            made.peak_mib = cost["peak_mib"]
            made.run = record.path.name
            rows.append(made)
        if len(ordered) == records[0].header["folds"] > 1:
            rows.append(row(label, "mean", ordered))
        for made in (row for row in rows if row.method == label):
            of_row = [record for record in members if made.fold in ("mean", str(fold_of(record)))]
            reported += beside(label, made.fold, made.scores, of_row, published)
    if trivial:
        one_per_fold = {fold_of(record): record for record in reversed(records)}  # the first, which stays it
        for answer in ANSWERS:
            rows += [row(answer, str(fold), [record], answer) for fold, record in sorted(one_per_fold.items())]
    meanings = [f"{name}: {SCORES[name]}" for name in metrics if name not in DEFAULT]
    lacking = [row.run for row in rows if row.run and {"ROM", "RUM"} & set(metrics) - set(row.scores)]
    missing = [f"{run}: made before ROM and RUM were measured; FORCE=1 repeats the run" for run in lacking]
    return Block(title(records), rows, [*notes(records), *meanings, *missing], metrics, reported)


def _image_block(
    records: list[Record], by_class: bool, trivial: bool, metrics: tuple[str, ...], published: Sequence[Figure]
) -> Block:
    """Of classification: no folds, no sizes, one score, and chance for an answer that needs no model."""
    rows: list[Row] = []
    reported: list[Beside] = []
    for label, (record,) in variants(records).items():
        cost = record.run["cost"]
        row = Row(label, "all", {"accuracy": accuracy_interval(accuracy_sums(record.episodes))}, run=record.path.name)
        row.trainable, row.peak_mib = cost["trainable_parameters"], cost["peak_mib"]
        row.episodes_per_second = cost["episodes_per_second"]
        if by_class:
            for name, keep in pairs_by_class(record.episodes, record.header).items():
                sums = accuracy_sums(record.episodes, keep) if keep.any() else None
                scores = {} if sums is None else {"accuracy": accuracy_interval(sums)}
                row.by_class[name] = Cell(int(keep.sum()), int(keep.sum()), scores)
        rows.append(row)
        reported += beside(label, row.fold, row.scores, [record], published)
    if trivial:
        share = 100 / records[0].header["way"]
        rows.append(Row("(chance)", "all", {"accuracy": Interval(share, share, share)}))
    how = "1.96 standard errors of the episodes' mean"
    return Block(title(records), rows, notes(records), ("accuracy",), reported, how)


def whole_sums(frame: "pl.DataFrame", header: Mapping[str, Any]) -> Sums:
    """Sums of a whole run: every score of it."""
    if classifies(header):
        return accuracy_sums(frame)
    return episode_sums(frame, header["class_ids"], load_protocol(header["protocol"]).void)


def pairs_by_size(frame: "pl.DataFrame") -> dict[str, np.ndarray]:
    """Which rows of a count table are the (episode, way) pairs of each bin of `SIZES`, and of `ABSENT`."""
    way, shown = (frame["slot"] > 0).to_numpy(), frame["present"].to_numpy()
    share = (frame["gt"] / (frame["void"] + frame["valid"])).to_numpy()
    bins = {name: way & shown & (lower <= share) & (share < upper) for name, (lower, upper) in SIZES.items()}
    return bins | {ABSENT: way & ~shown}


def pairs_by_class(frame: "pl.DataFrame", header: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Which rows of a count table are the (episode, way) pairs of each class, by its name."""
    way, number = (frame["slot"] > 0).to_numpy(), frame["class_id"].to_numpy()
    return {name: way & (number == int(key)) for key, name in header["class_names"].items()}


def pairs_sums(frame: "pl.DataFrame", keep: np.ndarray, header: Mapping[str, Any]) -> Sums:
    """Sums over the pairs `keep`, of the classes that are among them."""
    if classifies(header):
        return accuracy_sums(frame, keep)
    void = load_protocol(header["protocol"]).void
    return pair_sums(frame, keep, sorted(set(frame["class_id"].to_numpy()[keep].tolist())), void)


def _part(frame: "pl.DataFrame", record: Record, by_class: bool) -> _Part:
    def pairs(keep: np.ndarray) -> _Pairs:
        episodes = frame["episode"].to_numpy()[keep]
        return _Pairs(int(keep.sum()), len(np.unique(episodes)), pairs_sums(frame, keep, record.header))

    sizes = {name: pairs(keep) for name, keep in pairs_by_size(frame).items()}
    classes = {name: pairs(keep) for name, keep in pairs_by_class(frame, record.header).items()} if by_class else {}
    return _Part(whole_sums(frame, record.header), sizes, classes)


def _scored(parts: list[_Part], by_class: bool, metrics: tuple[str, ...]) -> Row:
    """A row with scores alone."""
    row = Row("", "", _intervals([part.whole for part in parts], metrics))
    for name in parts[0].sizes:
        cells = [part.sizes[name] for part in parts]
        complete = all(cell.pairs for cell in cells)  # no mean of some folds only
        row.by_size[name] = _cell(cells if complete else [], metrics)
    for name in ("mIoU", "pixel-accuracy"):
        row.by_size[ABSENT].scores.pop(name, None)
    if by_class:
        for part in parts:
            row.by_class |= {name: _cell([cell] if cell.pairs else [], metrics) for name, cell in part.classes.items()}
    return row


def _cell(filled: list[_Pairs], metrics: tuple[str, ...]) -> Cell:
    scores = _intervals([cell.sums for cell in filled], metrics) if filled else {}
    return Cell(sum(cell.pairs for cell in filled), sum(cell.episodes for cell in filled), scores)


def _intervals(parts: list[Sums], metrics: tuple[str, ...]) -> dict[str, Interval]:
    scores = intervals([part.only(metrics) for part in parts])
    return {name: scores[name] for name in metrics if name in scores}


def _from_plain(values: dict[str, Any]) -> dict[str, Any]:
    """Intervals and cells of `asdict`."""
    return {
        name: Cell(int(v["pairs"]), int(v["episodes"]), _from_plain(v["scores"]))
        if "pairs" in v
        else Interval(**{end: float(number) for end, number in v.items()})
        for name, v in values.items()
    }
