"""Summarize a grid's scores: of each variant, over its folds and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from statistics import mean, stdev

from fsbench.base.errors import RecordError, user_message
from fsbench.records.description import notes
from fsbench.records.record import Record
from fsbench.runner.grid.plan import PlannedRun
from fsbench.runner.grid.spec import GridCell


@dataclass(frozen=True)
class Summary:
    """A variant's score: mean over folds for each seed, then mean and standard deviation over the seeds.

    `done` counts the seeds whose cells are all done. They have a score in `seeds` if `folds`, those of the grid, are
    all folds that the data set has (`of`; None while no run tells). `value` and `deviation` are None unless all seeds
    have one (and there are two), so that no seed is ever chosen.
    """

    variant: GridCell
    folds: int
    of: int | None
    wanted: int
    done: int
    metric: str
    seeds: dict[int | None, float]
    value: float | None
    deviation: float | None


def by_variant(planned: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """Group the cells that differ in fold and seed alone."""
    variants: dict[tuple[str, ...], list[PlannedRun]] = {}
    for item in planned:
        variants.setdefault(item.cell.variant, []).append(item)
    return list(variants.values())


def summaries(planned: Sequence[PlannedRun], metrics: Sequence[str]) -> list[Summary]:
    """Return the scores of every variant of the grid, over the folds and seeds that the grid names."""
    results = []
    for items in by_variant(planned):
        folds = {item.cell.fold for item in items}
        seeds = list(dict.fromkeys(item.cell.request.seed for item in items))
        records = {(item.cell.request.seed, item.cell.fold): record for item, record in _sound(items)}
        of = max((record.header.folds for record in records.values()), default=None)
        done = sum({fold for by, fold in records if by == seed} == folds for seed in seeds)
        for metric in metrics:
            found = {key: r.run.scores.get(metric, nan) for key, r in records.items()}
            scores = {key: score for key, score in found.items() if not isnan(score)}
            by_seed = {
                seed: mean(scores[seed, fold] for fold in folds)
                for seed in seeds
                if len(folds) == of and all((seed, fold) in scores for fold in folds)
            }
            complete = len(by_seed) == len(seeds)
            value = mean(by_seed.values()) if complete else None
            deviation = stdev(by_seed.values()) if complete and len(seeds) > 1 else None
            results.append(Summary(items[0].cell, len(folds), of, len(seeds), done, metric, by_seed, value, deviation))
    return results


def remarks(planned: Sequence[PlannedRun]) -> list[str]:
    """Return the notes that a reader of the scores needs, each with its variants where it does not hold for all."""
    by_note: dict[str, list[str]] = {}
    with_runs = 0
    for items in by_variant(planned):
        records = [record for _, record in _sound(items)]
        damaged = [_damage(item.record) for item in items if item.record is not None]
        with_runs += bool(records)
        cell = items[0].cell
        words = (cell.method, cell.request.dataset, cell.task, cell.options.strip("–"))
        for note in [*(notes(records) if records else ()), *(f"left out: {why}" for why in damaged if why)]:
            by_note.setdefault(note, []).append(" ".join(word for word in words if word))
    return [
        note if len(names) == with_runs and not note.startswith("left out") else f"{', '.join(names)}: {note}"
        for note, names in by_note.items()
    ]


def _sound(items: Sequence[PlannedRun]) -> list[tuple[PlannedRun, Record]]:
    """Return the finished cells with a readable manifest, and their records."""
    return [(item, item.record) for item in items if item.record is not None and not _damage(item.record)]


def _damage(record: Record) -> str:
    """Return why the record's manifest cannot be read; empty if it can."""
    try:
        record.header  # noqa: B018
    except RecordError as error:
        return user_message(error)
    return ""
