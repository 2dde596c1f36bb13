"""Run an experiment: train if the method learns, evaluate, write the record.

An unfinished run goes on where it was: training from its last epoch, evaluation from the last finished episode.
"""

import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import lightning as L
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from fsbench.base.class_file import SOURCE, ClassFile, unchanged_content
from fsbench.base.errors import SettingsError
from fsbench.core.global_state import kept_global_state
from fsbench.records.journal import Journal
from fsbench.records.record import Record
from fsbench.records.run_directory import RunDirectory, open_run
from fsbench.records.writing import label_run
from fsbench.runner.config.parse import ParsedRun
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.checkpoint import trained_steps
from fsbench.runner.engine.evaluate import Evaluation, evaluate, evaluate_together
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.loggers import log_finished_run, log_record
from fsbench.runner.engine.machine.check import check_machine
from fsbench.runner.engine.machine.process_group import leaving_process_group
from fsbench.runner.engine.machine.watchdog import Watchdog
from fsbench.runner.engine.prediction_sheet import PredictionSheet
from fsbench.runner.engine.train import prepare_method
from fsbench.runner.engine.trainer import build_trainer

log = logging.getLogger("fsbench")


@kept_global_state()
def run(config: RunConfig) -> Record | None:
    """Train and evaluate whatever a run still lacks, and write its record.

    Returns:
        The record; None on ranks other than 0.

    Raises:
        FsbenchError: the settings do not fit together, or the run cannot be done or finished.
        KeyboardInterrupt: the run was interrupted; the same call resumes it.
    """
    return run_parsed(config.parse())


@kept_global_state()
def run_together(runs: Iterable[ParsedRun]) -> None:
    """Complete several runs of one test together in one process; none of them may need training.

    Each has its own folder, log and journal. An error in one ends all; the runs can then be resumed one by one.

    Raises:
        FsbenchError: a run cannot be done or finished.
        KeyboardInterrupt: the runs were interrupted.
    """
    with ExitStack() as stack, leaving_process_group(), Watchdog(lambda: ()):
        evaluations = []
        for experiment in map(Experiment, runs):
            directory = stack.enter_context(open_run(experiment.folder, force=experiment.options.force))
            if not directory.is_complete:
                _, prepare = _begun(experiment, directory)
                evaluations.append(prepare())
        if evaluations:
            evaluate_together(evaluations)


@kept_global_state()
def run_parsed(parsed: ParsedRun) -> Record | None:
    """Train and evaluate whatever a run still lacks, from its checked settings, and return its record; see `run`."""
    with leaving_process_group():
        return run_experiment(Experiment(parsed))


def run_experiment(experiment: Experiment) -> Record | None:
    """Train and evaluate whatever a run still lacks, and write its record; every rank must call this.

    Returns:
        The record on rank 0, None on the other ranks.

    Raises:
        FsbenchError: the run cannot be done or finished; its log says the same.
        KeyboardInterrupt: the run was interrupted.
    """
    if experiment.is_done and (done := experiment.record()):
        log_finished_run(experiment, done)
        return label_run(done, experiment.options.label)
    check_machine(experiment.trainer_settings)
    rank = int(getattr(rank_zero_only, "rank", 0))  # which is known before there is a trainer
    with open_run(experiment.folder, rank, experiment.options.force) as directory:
        if directory.is_complete:  # another process finished it just now
            return experiment.record()
        try:
            record = _train_and_evaluate(experiment, directory)
        except MisconfigurationException as error:
            raise SettingsError(f"trainer: {error}") from error
        except SystemExit as ended:
            if isinstance(ended.__context__, KeyboardInterrupt):  # which Lightning's Trainer turns into exit(1)
                raise KeyboardInterrupt from None
            raise
        return None if record is None else Record(experiment.folder, record.run)


def _train_and_evaluate(experiment: Experiment, directory: RunDirectory) -> Record | None:
    trainer, prepare = _begun(experiment, directory)
    with Watchdog(lambda: getattr(trainer.strategy.launcher, "procs", ())) as watchdog:
        try:
            return evaluate(prepare())
        except RuntimeError as error:
            if trainer.world_size > 1 and (lost := watchdog.lost_peer()):
                raise lost from error
            raise


def _begun(experiment: Experiment, directory: RunDirectory) -> tuple[L.Trainer, Callable[[], Evaluation]]:
    """Note what a run is in its folder; return its trainer, and a function that makes its method ready for the test."""
    directory.write_json("identity.json", experiment.identity.as_json())
    directory.write_text("config.yaml", experiment.config_text)  # what `fsbench explain` reads
    if reference := experiment.options.method_file:  # a run outlives the file of its method
        directory.write_bytes(SOURCE, unchanged_content(ClassFile.stated(reference)))
    trainer, best = build_trainer(experiment, directory.path)
    sheet = PredictionSheet(experiment.data)

    def log_scores(journal: Journal, record: Record) -> None:
        log_record(trainer.loggers, record, trainer.global_step or trained_steps(record.path))

    def prepare() -> Evaluation:
        preparation = prepare_method(experiment, trainer, directory, best)
        listeners = (sheet.draw, log_scores)  # the sheet first: loggers send it
        return Evaluation(experiment, trainer, directory, preparation, listeners, sheet.shown)

    if experiment.beyond_authors_rule:
        log.info("%s: %s", experiment.options.name, experiment.beyond_authors_rule)
    return trainer, prepare
