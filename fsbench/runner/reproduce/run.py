"""Run what a paper's rows still need, through the grid: base learners, then trainings, then tests of checkpoints."""

from collections.abc import Sequence
from pathlib import Path

from fsbench.runner.grid.executors import Executor
from fsbench.runner.grid.plan import PlannedRun
from fsbench.runner.grid.run import Failure, run_missing
from fsbench.runner.reproduce.cells import PaperRun
from fsbench.runner.reproduce.plan import plan_runs


def run_paper(
    ordered: Sequence[PaperRun], runs: Path, executor: Executor
) -> tuple[dict[PaperRun, PlannedRun], list[Failure]]:
    """Run everything that is missing and lacks nothing, until nothing more can be run.

    Args:
        ordered: the runs, see `fsbench.runner.reproduce.cells.with_preparations`.
        runs: folder of all runs.
        executor: see `fsbench.runner.grid.run.run_missing`.

    Returns:
        The runs as they are afterwards, and the failures. A run that failed is not tried twice.
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
