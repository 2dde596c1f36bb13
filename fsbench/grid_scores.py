"""Scores of what a grid asks for: of each variant, over its folds and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from fsbench.grid import GridCell
from fsbench.grid_plan import Planned


@dataclass(frozen=True)
class Summary:
    """A variant's score: mean over folds for each seed, then mean and standard deviation over the seeds.

    `done` counts the seeds all whose folds are done, which have scores in `seeds`; `value` and `deviation` are None
    unless all seeds are (and there are two), so that no seed is ever chosen.
    """

    variant: GridCell
    folds: int
    wanted: int
    done: int
    metric: str
    seeds: dict[int | None, float]
    value: float | None
    deviation: float | None


def by_variant(planned: Sequence[Planned]) -> list[list[Planned]]:
    """The cells that differ in fold and seed alone stand together."""
    variants: dict[tuple[str, ...], list[Planned]] = {}
    for item in planned:
        variants.setdefault(item.cell.variant, []).append(item)
    return list(variants.values())


def summaries(planned: Sequence[Planned], metrics: Sequence[str]) -> list[Summary]:
    """Scores of every variant of the grid, over the folds and seeds that the grid names."""
    found = []
    for items in by_variant(planned):
        folds = {item.cell.fold for item in items}
        seeds = list(dict.fromkeys(item.cell.seed for item in items))
        records = {(item.cell.seed, item.cell.fold): item.record for item in items if item.record is not None}
        done = sum({fold for of, fold in records if of == seed} == folds for seed in seeds)
        for metric in metrics:
            scores = {key: r.run["scores"][metric] for key, r in records.items() if metric in r.run.get("scores", {})}
            by_seed = {
                seed: mean(scores[seed, fold] for fold in folds)
                for seed in seeds
                if all((seed, fold) in scores for fold in folds)
            }
            complete = len(by_seed) == len(seeds)
            value = mean(by_seed.values()) if complete else None
            deviation = stdev(by_seed.values()) if complete and len(seeds) > 1 else None
            found.append(Summary(items[0].cell, len(folds), len(seeds), done, metric, by_seed, value, deviation))
    return found
