"""Look up which runs of a paper are done, which can be done now, and what the others lack."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsbench.config.needs import Missing, missing_checkpoint, missing_data, missing_weights
from fsbench.grid.estimate import CostEstimate, Estimates
from fsbench.grid.plan import PlannedRun, plan
from fsbench.records.record import Record, find_records
from fsbench.reproduce.cells import PaperRun, SharedTraining

PLACEHOLDER = "(checkpoint of a training that is not done)"


@dataclass(frozen=True)
class PlannedPaperRun:
    """A run of a paper and its state.

    Attributes:
        run: the run.
        planned: the grid's knowledge of it; None while something that it starts from is absent.
        missing: files that are absent.
        cost: its estimated cost; None when unknown, or when it is done.
    """

    run: PaperRun
    planned: PlannedRun | None = None
    missing: tuple[Missing, ...] = ()
    cost: CostEstimate | None = None

    @property
    def state(self) -> str:
        """done, begun, missing or refused as in a grid; lacks files; waits for a training."""
        if self.planned is not None:
            return self.planned.state
        return "lacks files" if self.missing else "waits"

    @property
    def record(self) -> Record | None:
        return None if self.planned is None else self.planned.record

    @property
    def refused(self) -> str:
        return "" if self.planned is None else self.planned.refused


def plan_runs(
    ordered: Sequence[PaperRun], runs: Path, recheck: bool = False, progress: Callable[..., Any] = iter
) -> dict[PaperRun, PlannedPaperRun]:
    """Look every run up: what it lacks, and, of one that lacks nothing, its record.

    Args:
        ordered: the runs, those that make a checkpoint before those that start from it.
        runs: folder of all runs.
        recheck, progress: see `fsbench.grid.plan.plan`.
    """
    estimates = Estimates(find_records(runs, []) if runs.is_dir() else [])
    checkpoints: dict[SharedTraining, str | None] = {}
    found: dict[PaperRun, PlannedPaperRun] = {}
    for level in _levels(ordered):
        ready = []
        for run in level:
            missing = _missing(run)
            if missing or not all(training in checkpoints for training in run.needs):
                cell = run.cell(None if run.trains or run.training is None else PLACEHOLDER)
                found[run] = PlannedPaperRun(run, missing=missing, cost=estimates.estimate(cell))
            else:
                ready.append(run)
        cells = [_cell(run, checkpoints) for run in ready]
        for run, item in zip(ready, plan(cells, runs, recheck, progress) if cells else [], strict=True):
            found[run] = PlannedPaperRun(run, item, cost=item.cost)
            if run.trains and run.training and item.record is not None:
                checkpoints[run.training] = _checkpoint_of(item.record)
    return {run: found[run] for run in ordered}


def _levels(ordered: Iterable[PaperRun]) -> list[list[PaperRun]]:
    """Group the runs so that each starts from checkpoints of earlier groups alone."""
    depth: dict[SharedTraining, int] = {}
    levels: list[list[PaperRun]] = []
    for run in ordered:
        level = 1 + max((depth[training] for training in run.needs), default=-1)
        if run.trains and run.training:
            depth[run.training] = level
        levels += [[]] * (level + 1 - len(levels))
        levels[level] = [*levels[level], run]
    return levels


def _missing(run: PaperRun) -> tuple[Missing, ...]:
    base_is_trained = run.base_learner is not None
    weights = [] if run.released else missing_weights(run.request, base_is_trained)
    return (*missing_data(run.request), *weights, *missing_checkpoint(run.request.methods[0], run.released))


def _cell(run: PaperRun, checkpoints: dict[SharedTraining, str | None]) -> Any:
    """Return the run's cell with the checkpoints of the trainings it needs."""
    weights = checkpoints[run.base_learner] if run.base_learner else None
    if run.released:
        absent = missing_weights(run.request, trained=False)  # the authors' checkpoint brings the backbone along
        return run.cell(run.released, weights or ("random" if absent else None))
    tested = checkpoints[run.training] if run.training and not run.trains else None
    return run.cell(tested, weights)


def _checkpoint_of(record: Record) -> str | None:
    """Return the best checkpoint of a finished training; None of a method that learned nothing."""
    name = record.run.made.checkpoint
    return None if name is None else str(record.path / "checkpoints" / name)
