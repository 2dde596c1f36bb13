"""Build Lightning's Trainer of a run from the configuration and the suite's callbacks, loggers and checkpoints."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from fsbench.engine.callbacks import THREADS, EpisodicValidation, PerStepSeed
from fsbench.engine.checkpoint import AtomicCheckpointIO
from fsbench.engine.experiment import Experiment
from fsbench.engine.loggers import wandb_logger
from fsbench.engine.micro_batches import in_micro_batches
from fsbench.engine.training_facts import CHOSEN_BY, TrainingFacts


def build_trainer(experiment: Experiment, folder: Path) -> tuple[L.Trainer, ModelCheckpoint]:
    """Build the trainer that trains and evaluates `experiment` in `folder`.

    Returns:
        The trainer, and its callback that keeps the checkpoint with the best validation mIoU.

    Raises:
        MisconfigurationException: Lightning refuses an argument.
        SettingsError: Weights & Biases cannot be reached.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = experiment.options.tf32
    torch.set_num_threads(THREADS)
    arguments = experiment.trainer_arguments
    if experiment.division is not None:
        automatic = experiment.method.automatic_optimization
        arguments = arguments | in_micro_batches(arguments, experiment.division.accumulation, automatic)
    best = ModelCheckpoint(
        folder / "checkpoints", "best", monitor=CHOSEN_BY, mode="max", save_last=True, enable_version_counter=False
    )
    curves = [CSVLogger(folder, "curves")] if experiment.trains else []
    wandb = wandb_logger(experiment, folder)
    progress = [] if arguments["enable_progress_bar"] is False else [TQDMProgressBar(leave=True)]
    trainer = L.Trainer(
        **arguments
        | {
            "default_root_dir": str(folder),
            "logger": [*curves, *_as_list(wandb), *_as_list(arguments["logger"])],
            "callbacks": [
                best,
                EpisodicValidation(experiment.data),
                PerStepSeed(experiment.data.seed),
                *([TrainingFacts(experiment)] if experiment.trains else []),
                *progress,
                *_as_list(arguments["callbacks"]),
            ],
            "use_distributed_sampler": False,  # ours neither pads nor repeats
            "num_sanity_val_steps": 0,
            "enable_model_summary": False,
        }
    )
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    return trainer, best


def _as_list(value: Any) -> list[Any]:
    """Return one instance, several or none as a list. Lightning takes True for its own default and False for none."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
