"""The runs that a paper's rows need: each once, each training shared by all tests of its checkpoint; run by a grid."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fsbench.base.paths import weights_folder
from fsbench.runner.config.needs import missing_data, missing_weights
from fsbench.runner.config.run_config import RunConfig, task_options
from fsbench.runner.grid.executors import Executor
from fsbench.runner.grid.plan import PlannedRun, Planner
from fsbench.runner.grid.run import Failure, run_missing
from fsbench.runner.papers.files import PaperRow, RowEntry


@dataclass(frozen=True)
class PaperRun:
    """A run that is needed to reproduce a row of a paper's table on one fold.

    Attributes:
        config: configuration of the run; checkpoint and weights are added when they exist.
        base: the run whose best checkpoint gives the backbone's weights; None for the usual weights.
        tested: the run that trains the checkpoint which this run tests; None if this run trains itself, or learns
            nothing.
        released: file of the authors' checkpoint that this run tests instead of a trained one; "" for none.
    """

    config: RunConfig
    base: "PaperRun | None" = None
    tested: "PaperRun | None" = None
    released: str = ""

    @property
    def needs(self) -> list["PaperRun"]:
        """The runs that must be done before this one, since it uses their checkpoints."""
        return [run for run in (self.base, self.tested) if run is not None]


RowRuns = dict[PaperRow, list[PaperRun]]
"""A row of a paper -> its runs, one for each fold; none where it cannot be run."""


def why_no_runs(entry: RowEntry, released: bool) -> str:
    """Return a reason why rows of a paper cannot be run, from authors' checkpoints if `released`; "" if they can."""
    if not entry.cannot_run and released and entry.checkpoint == "trained" and not entry.released:
        return "where the authors' checkpoints lie is not laid down; test them with make bench CKPT=<file>"
    return entry.cannot_run


def paper_runs(rows: Sequence[PaperRow], roots: Mapping[str, str], released: bool = False, **common: Any) -> RowRuns:
    """Return {row of a paper: runs that it needs, one for each fold}; no runs for rows that cannot be run.

    The first row that needs a training carries it out, and other rows test the resulting checkpoint. Give all rows of
    the paper even if only one table is wanted, so that a table has the same runs in both cases.

    Args:
        rows: the rows of the paper.
        roots: {data set: folder}, to use instead of the configured folder.
        released: whether to test the authors' checkpoints instead of training.
        **common: values of `RunConfig` fields for all runs, such as `seed=5`.
    """
    trainings: dict[tuple[RunConfig, PaperRun | None], PaperRun] = {}

    def run_of(row: PaperRow, fold: int) -> PaperRun:
        entry, learner = row.entry, row.entry.weights_of
        here = common | {"fold": fold, "data_root": roots.get(row.dataset)}
        config = replace(row.request, **here)
        if entry.checkpoint == "none":
            return PaperRun(config)
        base = None
        if learner is not None:
            config_of_base = RunConfig(learner.method, row.dataset, backbone=learner.backbone, **here)
            base = trainings.setdefault((config_of_base, None), PaperRun(config_of_base))
        if released:
            place = (entry.released or "").replace("{dataset}", row.dataset).replace("{fold}", str(fold))
            return PaperRun(config, base, released=str(weights_folder() / place))
        tested: dict[str, Any] = {option.field: None for name, option in task_options().items() if name != "fold"}
        training = replace(config, extra=row.training_arguments, **tested)
        maker = trainings.setdefault((training, base), PaperRun(config, base))
        return maker if maker.config == config else PaperRun(config, base, maker)

    return {
        row: [] if why_no_runs(row.entry, released) else [run_of(row, fold) for fold in row.entry.folds] for row in rows
    }


def with_preparations(wanted: Iterable[PaperRun]) -> list[PaperRun]:
    """Return the runs `wanted` in order, each after the runs whose checkpoints it needs, which are added."""
    ordered: dict[PaperRun, None] = {}
    for run in wanted:
        for needed in run.needs:
            ordered |= dict.fromkeys(with_preparations([needed]))
        ordered.setdefault(run)
    return list(ordered)


PLACEHOLDER = "(checkpoint of a training that is not done)"


def plan_runs(ordered: Iterable[PaperRun], runs: Path, recheck: bool = False) -> dict[PaperRun, PlannedRun]:
    """Look up for every run of a paper whether it is done, what it lacks, and what it costs.

    Args:
        ordered: the runs; a run that makes a checkpoint stands before the runs that start from it.
        runs, recheck: folder of all runs, and whether to compute the hashes of runs' identities again instead of using
            cached ones.

    Returns:
        {run: its state and cost}.
    """
    planner = Planner(runs, recheck)
    planned: dict[PaperRun, PlannedRun] = {}
    for run in ordered:
        if all(planned[needed].record is not None for needed in run.needs):
            planned[run] = planner.plan(_with_files(run, planned))
        else:
            config = replace(run.config, checkpoint=None if run.tested is None else PLACEHOLDER)
            lacks = (*missing_data(run.config), *(missing_weights(run.config) if run.base is None else ()))
            cost = planner.estimates.estimate(config)
            planned[run] = PlannedRun(config, None, lacks=lacks, waits=True, cost=cost)
    return planned


def _with_files(run: PaperRun, planned: Mapping[PaperRun, PlannedRun]) -> RunConfig:
    """Return a run with the checkpoints of the runs that it needs, all of which are done."""
    checkpoints: list[str | None] = []
    for needed in (run.base, run.tested):
        record = None if needed is None else planned[needed].record
        name = None if record is None else record.run.made.checkpoint  # None of a method that learned nothing
        checkpoints.append(None if record is None or name is None else str(record.path / "checkpoints" / name))
    weights, tested = checkpoints
    if run.released:
        tested = run.released
        if weights is None and missing_weights(run.config):
            weights = "random"  # the authors' checkpoint brings the backbone along
    return replace(run.config, checkpoint=tested, weights=weights)


def run_paper(
    ordered: Sequence[PaperRun], runs: Path, executor: Executor
) -> tuple[dict[PaperRun, PlannedRun], list[Failure]]:
    """Carry out all missing runs of a paper for which no file is missing, until none is left.

    A run that needs the checkpoint of another run follows once that checkpoint exists.

    Args:
        ordered: the runs, in the order of `with_preparations`: a run stands after those whose checkpoints it needs.
        runs: folder of all runs.
        executor: starts the runs, on this machine or a cluster.

    Returns:
        {run: its state afterwards}, and the failures. A run that failed is not tried again.
    """
    failures: list[Failure] = []
    tried: set[PaperRun] = set()
    while True:
        planned = plan_runs(ordered, runs)
        ready = [run for run, item in planned.items() if item.is_ready and run not in tried]
        if not ready:
            return planned, failures
        tried |= set(ready)
        failures += run_missing([planned[run] for run in ready], runs, executor)
