"""When a training validates and when it ends early, as the run's options say; an early end is logged and recorded."""

import logging
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from fsbench.base.errors import SettingsError
from fsbench.core.method import Method
from fsbench.records.run import CHOSEN_BY
from fsbench.runner.config.parse import RunOptions
from fsbench.runner.config.trainer_settings import is_one_of
from fsbench.runner.engine.validation_schedule import BestScore, ValidationSchedule

log = logging.getLogger("fsbench")

EVERY_EPOCH = ValidationSchedule()
LEAST = {"first_validation": 0, "middle_validation": 0, "validation_every": 1, "patience": 1}
"""Options of validation and early end, and their smallest values."""
UNSET = {"limit_val_batches": (None, 1.0, 0, 0.0), "val_check_interval": (None, 1.0), "check_val_every_n_epoch": (1,)}
"""Settings of the trainer on validation, and their values that ask for nothing where nothing is validated."""


def validation_schedule(options: RunOptions) -> ValidationSchedule:
    """Return the schedule of validations from a run's options."""
    return ValidationSchedule(options.first_validation, options.middle_validation, options.validation_every)


def validation_options(options: RunOptions) -> dict[str, int]:
    """Return {option: value} of validation and early stopping that are not the defaults, for a run's identity."""
    given = {name: getattr(options, name) for name in LEAST}
    return {name: value for name, value in given.items() if value != getattr(RunOptions, name)}


def check_validation(options: RunOptions, trainer: dict[str, Any], validates: bool) -> None:
    """Raise SettingsError if a training would never validate, or its options on validation contradict each other.

    Args:
        options: the options of the run.
        trainer: {name: plain value} of the arguments of Lightning's Trainer.
        validates: whether validation scores choose the checkpoint.
    """
    if not validates:
        given = [f"run.{name}" for name in validation_options(options)]
        given += [f"trainer.{name}" for name, unset in UNSET.items() if not is_one_of(trainer[name], unset)]
        if given:
            raise SettingsError(
                f"{given[0]} says when or how to validate, and data.training.validation none validates nothing; give "
                "one of them"
            )
    for name, lowest in LEAST.items():
        value = getattr(options, name)
        if value is not None and value < lowest:
            raise SettingsError(f"run.{name} is {value}, expected {lowest} or more")
    epochs = trainer["max_epochs"]
    if epochs == 0:
        raise SettingsError("max_epochs is 0, so nothing would be trained; expected one epoch or more")
    if epochs is not None and 0 <= epochs <= options.first_validation:
        raise SettingsError(
            f"max_epochs is {epochs}, and the first epoch with a validation is number {options.first_validation} "
            "(counted from 0), so no checkpoint would be chosen; give --run.first_validation 0 or more epochs"
        )
    for name in ("val_check_interval", "check_val_every_n_epoch"):
        if validation_schedule(options) == EVERY_EPOCH or is_one_of(trainer[name], UNSET[name]):
            continue
        raise SettingsError(
            f"{name} is {trainer[name]}, but the run's options say when it validates (run.first_validation "
            f"{options.first_validation}, run.middle_validation {options.middle_validation}, run.validation_every "
            f"{options.validation_every}); give one of them"
        )


def may_end_early(options: RunOptions, trainer: dict[str, Any], method: Method) -> bool:
    """Return whether a training may end before its last epoch, so that the trainer's least number of epochs counts.

    Args:
        options: the options of the run.
        trainer: {name: plain value} of the arguments of Lightning's Trainer.
        method: the method that is trained.
    """
    own_callbacks = type(method).configure_callbacks is not L.LightningModule.configure_callbacks
    asked = options.patience is not None or trainer["max_time"] or trainer["callbacks"]
    return bool(asked) or own_callbacks or method.ends_early


class ValidationPlan(Callback):
    """Callback that validates by a schedule, and stops a training that no longer improves.

    Args:
        schedule: after which epochs, and in the middle of which epochs, to validate.
        patience: number of epochs without improvement after which the training ends; None to never end early.
        accumulation: number of micro-batches per process and optimiser step.
    """

    def __init__(self, schedule: ValidationSchedule, patience: int | None, accumulation: int):
        self.schedule, self.accumulation = schedule, accumulation
        self.score = BestScore(patience)

    def end(self, trainer: L.Trainer) -> str | None:
        """Return a sentence on why the training stopped early; None if it did not."""
        if not self.score.is_over or trainer.current_epoch == trainer.max_epochs:
            return None
        return f"{CHOSEN_BY} did not exceed {self.score.best:.6g} in {self.score.waited} epochs (run.patience)"

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop |= self.score.is_over  # a training that goes on from its last checkpoint

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.score.begin_epoch()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Make Lightning validate after this micro-batch if the schedule has a validation here."""
        if self.schedule == EVERY_EPOCH:
            return
        batches = int(trainer.num_training_batches)
        steps = -(-batches // self.accumulation)
        points = self.schedule.validations(trainer.current_epoch, steps)
        due = {min(step * self.accumulation, batches) for step, _ in points}
        trainer.val_check_batch = batch_idx + 1 if batch_idx + 1 in due else batches + 1

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking and CHOSEN_BY in trainer.callback_metrics:
            self.score.update(float(trainer.callback_metrics[CHOSEN_BY]))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.score.is_over and trainer.current_epoch + 1 != trainer.max_epochs:
            log.info("training ends after %d epochs: %s", trainer.current_epoch + 1, self.end(trainer))
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.score.best, "waited": self.score.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.score.best, self.score.waited = state_dict["best"], state_dict["waited"]
