"""Summarize a grid's scores: of each variant, over its folds and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, inf, isnan, nan
from statistics import mean, stdev

from fsbench.records.description import all_notes
from fsbench.records.record import Record
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.grid.plan import PlannedRun
from fsbench.runner.grid.words import common_options, option_words, run_variant, task_words

VALIDATION = "val/mIoU"
"""Score of the trainings' validation, on other classes than the test's: by it settings may be chosen."""


@dataclass(frozen=True)
class Summary:
    """Mean score of a variant (runs that differ only in fold and seed), with its standard deviation over seeds.

    Attributes:
        variant: one of the runs of the variant.
        folds: number of folds in the mean: those that are done for every seed with a finished run.
        of: number of folds of the data set; None if no run is done.
        chosen_folds: numbers of the requested folds.
        wanted: number of requested seeds.
        done: number of seeds in the mean.
        metric: name of the score.
        seeds: {seed: mean score over those folds}.
        value: mean of `seeds`; None if no run is done.
        deviation: standard deviation over seeds of the mean over folds, computed from those of single folds; None for
            fewer than two seeds.
    """

    variant: RunConfig
    folds: int
    of: int | None
    chosen_folds: tuple[int, ...]
    wanted: int
    done: int
    metric: str
    seeds: dict[int | None, float]
    value: float | None
    deviation: float | None

    @property
    def is_whole(self) -> bool:
        """Whether the score covers all folds of the data set and all requested seeds."""
        return self.folds == self.of and self.done == self.wanted

    @property
    def is_complete(self) -> bool:
        """Whether the score covers all requested folds and seeds."""
        return self.folds == len(self.chosen_folds) and self.done == self.wanted


def by_variant(planned: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """Group runs that differ only in fold and seed."""
    variants: dict[tuple[str, ...], list[PlannedRun]] = {}
    for item in planned:
        variants.setdefault(run_variant(item.config), []).append(item)
    return list(variants.values())


def summaries(planned: Sequence[PlannedRun], metrics: Sequence[str]) -> list[Summary]:
    """Return each variant's mean scores over finished folds and seeds; its runs differ only in fold and seed.

    If `VALIDATION` is the first score, the variants of each test are sorted by it, the best first.
    """
    results = []
    for items in by_variant(planned):
        wanted = {item.config.seed for item in items}
        asked = tuple(sorted({item.config.fold for item in items}))
        records = {(item.config.seed, item.config.fold): item.record for item in items if item.record is not None}
        of = max((record.header.folds for record in records.values()), default=None)
        for metric in metrics:
            found = {key: _score(record, metric) for key, record in records.items()}
            scores = {key: score for key, score in found.items() if not isnan(score)}
            folds_by_seed: dict[int | None, set[int]] = {}
            for seed, fold in scores:
                folds_by_seed.setdefault(seed, set()).add(fold)
            folds = set.intersection(*folds_by_seed.values()) if folds_by_seed else set()
            seeds = {seed: mean(scores[seed, fold] for fold in folds) for seed in folds_by_seed if folds}
            value = mean(seeds.values()) if seeds else None
            spreads = [stdev(scores[seed, fold] for seed in seeds) for fold in folds if len(seeds) > 1]
            deviation = hypot(*spreads) / len(spreads) if spreads else None
            results.append(
                Summary(
                    items[0].config, len(folds), of, asked, len(wanted), len(seeds), metric, seeds, value, deviation
                )
            )
    return _sorted_by_validation(results) if metrics[0] == VALIDATION else results


def _score(record: Record, metric: str) -> float:
    """Return a score of a run; NaN if it has none, or if its validation was on the test's own classes."""
    if metric != VALIDATION:
        return record.scores.get(metric, nan)
    score, training = record.run.made.validation_mIoU, record.run.identity.training or {}
    return nan if score is None or training.get("validation") == "novel" else score


def _sorted_by_validation(results: Sequence[Summary]) -> list[Summary]:
    """Sort the variants of each test by their validation, those without one last."""
    scores = {run_variant(one.variant): one.value for one in results if one.metric == VALIDATION}
    tests = list(dict.fromkeys((one.variant.dataset, task_words(one.variant)) for one in results))

    def place(one: Summary) -> tuple[int, float]:
        score = scores[run_variant(one.variant)]
        return tests.index((one.variant.dataset, task_words(one.variant))), inf if score is None else -score

    return sorted(results, key=place)


def remarks(planned: Sequence[PlannedRun], requested: Sequence[RunConfig] = ()) -> list[str]:
    """Return notes on the runs of a grid, to print below its scores; a note that is not about all variants names them.

    Args:
        planned: the planned runs.
        requested: all requested runs, also those dropped because only an unused seed differs.
    """
    by_note: dict[str, list[str]] = {}
    with_runs, common = 0, common_options(item.config for item in planned)
    for items in by_variant(planned):
        records = [item.record for item in items if item.record is not None]
        with_runs += bool(records)
        run = items[0].config
        words = (run.name, run.dataset, task_words(run), option_words(run, common).strip("–"))
        for note in all_notes(records) if records else ():
            by_note.setdefault(note, []).append(" ".join(word for word in words if word))
    notes = [note if len(names) == with_runs else f"{', '.join(names)}: {note}" for note, names in by_note.items()]
    once = list(dict.fromkeys(item.config.name for item in planned if not item.takes_seed))
    if once and len(planned) < len(requested):
        runs = "1 run" if len(planned) == 1 else f"{len(planned)} runs"
        counted = f"; so the grid's {len(requested)} combinations are {runs}"
        notes.append(f"{', '.join(once)}: one seed, since nothing is trained{counted}")
    return notes
