"""The runs that a paper's rows need: each once, each training shared by all tests of its checkpoint."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fsbench.base.paths import weights_folder
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.papers.files import PaperRow, RowEntry


@dataclass(frozen=True)
class SharedTraining:
    """A training that rows share: everything that learned weights follow from, as a paper's file says it."""

    method: str
    backbone: str | None
    dataset: str
    fold: int
    protocol: str | None = None
    options: tuple[str, ...] = ()
    base_learner: "SharedTraining | None" = None


@dataclass(frozen=True)
class PaperRun:
    """A run of a paper.

    Attributes:
        request: its options, without checkpoint and weights.
        training: the training whose checkpoint it makes or tests; None where nothing is learned.
        trains: whether the run makes its training's checkpoint, rather than testing it.
        released: file of the authors' checkpoint that it tests instead; "" for none.
    """

    request: RunConfig
    training: SharedTraining | None
    trains: bool
    released: str = ""

    @property
    def base_learner(self) -> SharedTraining | None:
        """The training that makes the backbone's weights."""
        return None if self.training is None else self.training.base_learner

    @property
    def needs(self) -> list[SharedTraining]:
        """Trainings that must be done before."""
        base = [self.base_learner] if self.base_learner else []
        own = [self.training] if self.training and not self.trains and not self.released else []
        return base + own

    def with_files(self, checkpoint: str | None = None, weights: str | None = None) -> RunConfig:
        """Return the run with these files."""
        return replace(self.request, checkpoint=checkpoint, weights=weights)


@dataclass(frozen=True)
class RunOptions:
    """Options that all runs of a reproduction have in common.

    Attributes:
        roots: folder of a data set by its name, instead of the configuration's.
        released: test the authors' checkpoints instead of training.
        devices: processes of a run; None: one.
        seed: of the trainings; None: the configuration's.
        fast: trials of a few minutes.
    """

    roots: Mapping[str, str]
    released: bool = False
    devices: int | None = None
    seed: int | None = None
    fast: bool = False

    def why_not(self, entry: RowEntry) -> str:
        """Return why rows have no runs; "" where they have."""
        no_checkpoint = self.released and entry.checkpoint == "trained" and not entry.released
        return entry.cannot_run or UNKNOWN_PLACE * no_checkpoint


UNKNOWN_PLACE = "where the authors' checkpoints lie is not laid down; test them with make bench CKPT=<file>"

RowRuns = dict[PaperRow, list[PaperRun]]
"""A row of a paper -> its runs, one for each fold; none where it cannot be run."""


def paper_runs(rows: Sequence[PaperRow], options: RunOptions) -> RowRuns:
    """Return the runs of all rows of a paper.

    The first row that needs a training makes it, and the others test its checkpoint. Give all rows of the paper, also
    where one table is wanted: a table has the same runs whether it is asked for alone or not.
    """
    makers: dict[SharedTraining, RunConfig] = {}
    return {
        row: [] if options.why_not(row.entry) else [_run(row, fold, options, makers) for fold in row.entry.folds]
        for row in rows
    }


def with_preparations(wanted: Iterable[PaperRun], all_runs: RowRuns, options: RunOptions) -> list[PaperRun]:
    """Return the runs `wanted`, each once, and before them those whose checkpoints they start from."""
    makers = {run.training: run for runs in all_runs.values() for run in runs if run.trains}
    ordered: dict[PaperRun, None] = {}

    def add(run: PaperRun) -> None:
        for training in run.needs:
            add(makers.get(training) or _base_run(training, options))
        ordered.setdefault(run)

    for run in wanted:
        add(run)
    return list(ordered)


def _run(row: PaperRow, fold: int, options: RunOptions, makers: dict[SharedTraining, RunConfig]) -> PaperRun:
    request = _with_options(row.request, fold, options)
    entry, base = row.entry, row.entry.weights_of
    if entry.checkpoint == "none":
        return PaperRun(request, None, trains=False)
    learner = SharedTraining(base.method, base.backbone, row.dataset, fold) if base else None
    changing = (*([entry.ablation] if entry.ablation else []), *entry.options)
    training = SharedTraining(entry.method, entry.backbone, row.dataset, fold, entry.protocol, changing, learner)
    if options.released:
        place = (entry.released or "").replace("{dataset}", row.dataset).replace("{fold}", str(fold))
        return PaperRun(request, training, trains=False, released=str(weights_folder() / place))
    return PaperRun(request, training, trains=makers.setdefault(training, request) == request)


def _base_run(training: SharedTraining, options: RunOptions) -> PaperRun:
    """Return the run that makes a base learner, whose test stands in no table."""
    request = RunConfig(method=training.method, dataset=training.dataset, backbone=training.backbone)
    return PaperRun(_with_options(request, training.fold, options), training, trains=True)


def _with_options(request: RunConfig, fold: int, options: RunOptions) -> RunConfig:
    return replace(
        request,
        fold=fold,
        data_root=options.roots.get(request.dataset),
        devices=options.devices,
        seed=options.seed,
        fast=options.fast,
    )
