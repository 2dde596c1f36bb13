"""Build Lightning's Trainer of a run from the configuration and the suite's callbacks, loggers and checkpoints."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from fsbench.base.errors import SettingsError
from fsbench.base.progress import shows_bar
from fsbench.core.answering import THREADS
from fsbench.core.global_state import allow_tf32
from fsbench.datamodules.stages import Stages
from fsbench.records.run import CHOSEN_BY
from fsbench.runner.engine.callbacks import (
    PlacelessCheckpoint,
    ProgressInLines,
    ReadableCheckpoint,
    TimeEstimate,
    TrainingFacts,
)
from fsbench.runner.engine.checkpoint import AtomicCheckpointIO
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.loggers import wandb_logger
from fsbench.runner.engine.machine.launch import plugins_in_job
from fsbench.runner.engine.micro_batches import in_micro_batches
from fsbench.runner.engine.validation_plan import EVERY_EPOCH, ValidationPlan, validation_schedule


def build_trainer(experiment: Experiment, folder: Path) -> tuple[L.Trainer, ModelCheckpoint]:
    """Build the Lightning trainer of a run.

    Args:
        experiment: the run.
        folder: folder to which the trainer writes.

    Returns:
        The trainer, and its callback that keeps the checkpoint with the best validation mIoU, or the last one if
        nothing is validated.

    Raises:
        MisconfigurationException: Lightning refuses an argument.
        SettingsError: Weights & Biases cannot be reached, or the number of threads is invalid.
    """
    options, division, arguments = experiment.options, experiment.division, experiment.trainer_arguments
    tf32 = options.tf32 in (True, "matmul"), options.tf32 in (True, "convolutions")
    allow_tf32(*tf32)
    threads = options.training_threads
    if threads is not None and threads < 1:
        raise SettingsError(f"run.training_threads is {threads}, expected a number of threads above 0")
    torch.set_num_threads(threads or THREADS)  # of the training; the evaluation sets its own number
    if division is not None:
        automatic = experiment.method.automatic_optimization
        arguments = arguments | in_micro_batches(arguments, division.accumulation, automatic)
    plan = ValidationPlan(
        validation_schedule(options), options.patience, 1 if division is None else division.accumulation
    )
    checkpoints = _checkpoints(folder / "checkpoints", plan, experiment.data.validates)
    is_shown = arguments["enable_progress_bar"] is not False
    bar = is_shown and shows_bar()
    callbacks = [Stages(experiment.data, tf32, sums_alone=True), *checkpoints]
    loggers = [wandb_logger(experiment, folder), *_as_list(arguments["logger"])]
    if experiment.trains:
        callbacks += [plan, TrainingFacts(experiment)]
        loggers = [CSVLogger(folder, "curves"), *loggers]
    if not experiment.data.validates:
        arguments = arguments | {"limit_val_batches": 0}
    if is_shown:
        callbacks += [TimeEstimate(), TQDMProgressBar(leave=True) if bar else ProgressInLines()]
    callbacks += _as_list(arguments["callbacks"])
    if experiment.trains:
        callbacks.append(ReadableCheckpoint(folder / "checkpoints" / "first.ckpt"))  # with the state of all the others
    trainer = L.Trainer(
        **arguments
        | {
            "default_root_dir": str(folder),
            "plugins": plugins_in_job(arguments["plugins"]),
            "logger": [one for one in loggers if one is not None],
            "callbacks": callbacks,
            "enable_progress_bar": bar,
            "use_distributed_sampler": False,  # ours neither pads nor repeats
            "num_sanity_val_steps": 0,
            "enable_model_summary": False,
        }
    )
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    return trainer, checkpoints[0]


def _checkpoints(folder: Path, plan: ValidationPlan, validates: bool) -> list[ModelCheckpoint]:
    """Return the callbacks that keep the chosen weights and those of the last epoch, from which a training goes on.

    Without a validation these are one. Else the chosen weights are the best ones of a validation, wherever it is.
    Lightning's `save_last` would keep the last epoch only where it has the best weights so far.
    """
    options: dict[str, Any] = {"dirpath": folder, "enable_version_counter": False}
    last = PlacelessCheckpoint(**options, filename="last", save_on_train_epoch_end=True)
    if not validates:
        return [last]
    chosen = options | {"filename": "best", "monitor": CHOSEN_BY, "mode": "max"}
    at_end = None if plan.schedule == EVERY_EPOCH else False  # None: there, if each epoch ends with the only validation
    return [PlacelessCheckpoint(**chosen, save_on_train_epoch_end=at_end), last]


def _as_list(value: Any) -> list[Any]:
    """Return one instance, several or none as a list. Lightning takes True for its own default and False for none."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
