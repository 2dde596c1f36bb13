"""Look up which runs of a paper are done, which can be done now, and what the others lack."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fsbench.records.record import Record
from fsbench.runner.config.needs import missing_data, missing_weights
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.grid.plan import PlannedRun, Planner
from fsbench.runner.reproduce.cells import PaperRun, SharedTraining

PLACEHOLDER = "(checkpoint of a training that is not done)"


def plan_runs(
    ordered: Sequence[PaperRun], runs: Path, recheck: bool = False, progress: Callable[..., Any] = iter
) -> dict[PaperRun, PlannedRun]:
    """Look every run up.

    Args:
        ordered: the runs, those that make a checkpoint before those that start from it.
        runs, recheck: see `fsbench.runner.grid.plan.Planner`.
        progress: wraps the loop over the runs.
    """
    planner = Planner(runs, recheck)
    checkpoints: dict[SharedTraining, str | None] = {}
    planned: dict[PaperRun, PlannedRun] = {}
    for run in progress(ordered):
        if all(training in checkpoints for training in run.needs):
            item = planner.plan(_cell(run, checkpoints))
        else:
            item = _plan_waiting(run, planner)
        planned[run] = item
        if run.trains and run.training and item.record is not None:
            checkpoints[run.training] = _trained_checkpoint(item.record)
    return planned


def _plan_waiting(run: PaperRun, planner: Planner) -> PlannedRun:
    """Return the plan of a run that starts from a checkpoint of a training that is not done."""
    cell = run.with_files(None if run.trains or run.training is None else PLACEHOLDER)
    weights = [] if run.base_learner else missing_weights(run.request)
    lacks = (*missing_data(run.request), *weights)
    return PlannedRun(cell, None, lacks=lacks, waits=True, cost=planner.estimates.estimate(cell))


def _cell(run: PaperRun, checkpoints: dict[SharedTraining, str | None]) -> RunConfig:
    """Return the run's cell with the checkpoints of the trainings it needs."""
    weights = checkpoints[run.base_learner] if run.base_learner else None
    if run.released:
        absent = missing_weights(run.request)  # the authors' checkpoint brings the backbone along
        return run.with_files(run.released, weights or ("random" if absent else None))
    tested = checkpoints[run.training] if run.training and not run.trains else None
    return run.with_files(tested, weights)


def _trained_checkpoint(record: Record) -> str | None:
    """Return the best checkpoint of a finished training; None of a method that learned nothing."""
    name = record.run.made.checkpoint
    return None if name is None else str(record.path / "checkpoints" / name)
