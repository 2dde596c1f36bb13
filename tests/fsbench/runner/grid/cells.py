"""Cells of grids, and planned ones whose scores are known."""

from pathlib import Path

from fsbench.records.record import Record
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.grid.plan import PlannedRun
from tests.fsbench.runs import some_header, some_run


def cell_of(method, dataset, fold, way, shot, setting, seed, **more):
    """A run of a grid."""
    task = {"way": way, "shot": shot, "setting": setting, "seed": seed}
    return RunConfig(method=method, dataset=dataset, fold=fold, **task, **more)


def finished(score, folds=2):
    """A record of a data set with `folds`."""
    record = Record(Path("x"), some_run())
    record.__dict__.update(header=some_header(folds=folds), scores={"mIoU": score})
    return record


def cells_with(states, folds=2):
    """Planned cells of one variant: {(fold, seed): mIoU or None}."""
    return [
        PlannedRun(
            cell_of("prototype", "demo", fold, 1, 1, None, seed),
            Path("x"),
            None if score is None else finished(score, folds),
        )
        for (fold, seed), score in states.items()
    ]
