"""Train the method of an experiment, calibrate or adapt it; a training that was stopped goes on from its last epoch."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from fsbench.base.errors import RunError, SettingsError
from fsbench.base.files import sha256_file
from fsbench.records.run_directory import RunDirectory
from fsbench.runner.engine.adapt import adapt
from fsbench.runner.engine.checkpoint import TRAINED, load_checkpoint, read_outcome
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.machine.determinism import unordered_kernels
from fsbench.runner.engine.machine.meter import Meter
from fsbench.runner.engine.micro_batches import out_of_memory, step_division_facts
from fsbench.runner.engine.validation_plan import ValidationPlan, may_end_early

log = logging.getLogger("fsbench")


@dataclass(frozen=True)
class Preparation:
    """Result of preparing a run's method for its test: training, calibration and adaptation, as far as it needs them.

    Attributes:
        checkpoint_sha256: hash of the checkpoint that training or adaptation chose; None if there was neither.
        facts: {entry of the run's record: value}, such as the checkpoint's name and validation mIoU, the cost of the
            training, the calibrated settings, and the outcome of the adaptation.
    """

    checkpoint_sha256: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def prepare_method(
    experiment: Experiment, trainer: L.Trainer, directory: RunDirectory, best: ModelCheckpoint
) -> Preparation:
    """Train or calibrate a run's method if the method needs it; then adapt it to the test if the method adapts.

    Args:
        experiment: the run.
        trainer: the run's trainer.
        directory: the run's folder, to which checkpoints are written.
        best: the trainer's callback that keeps the best checkpoint.

    Returns:
        Hash of the chosen checkpoint and facts for the run's record.
    """
    if experiment.method.needs.adaptation is not None:
        trained = _train(experiment, trainer, directory, best) if experiment.trains else {}
        adapted = adapt(experiment, trainer, directory)
        return Preparation(adapted["checkpoint_sha256"], trained | {"adaptation": adapted})
    if experiment.trains:
        facts = _train(experiment, trainer, directory, best)
        return Preparation(facts["checkpoint_sha256"], facts)
    if experiment.method.needs.calibration:
        log.info("calibrating on base classes")
        device, episodes = trainer.strategy.root_device, experiment.data.calibration_episodes()
        with torch.inference_mode():
            return Preparation(facts={"calibration": experiment.method.calibrate(one.to(device) for one in episodes)})
    return Preparation()


def _train(
    experiment: Experiment, trainer: L.Trainer, directory: RunDirectory, best: ModelCheckpoint
) -> dict[str, Any]:
    """Train unless that is done, and load the chosen checkpoint into the method.

    Returns:
        The checkpoint's name, hash and validation mIoU, and what training cost.
    """
    finished = directory.path / TRAINED
    if not finished.is_file():
        directory.write_json(TRAINED, _fit(experiment, trainer, finished.with_name("last.ckpt"), best))
        trainer.strategy.barrier("trained")
    facts = read_outcome(finished)
    load_checkpoint(experiment.method, finished.with_name(facts["checkpoint"]))
    return facts


def _fit(experiment: Experiment, trainer: L.Trainer, last: Path, best: ModelCheckpoint) -> dict[str, Any]:
    """Train from the checkpoint `last`, or from the first epoch if there is none."""
    log.info("training %s", f"continues from {last}" if last.is_file() else "starts")
    division = experiment.division
    assert division is not None
    meter = Meter(trainer.strategy.root_device)
    with unordered_kernels() as kernels:
        resumed = last if last.is_file() else None
        try:
            trainer.fit(experiment.method, datamodule=experiment.data, ckpt_path=resumed, weights_only=True)
        except torch.OutOfMemoryError as error:
            raise RunError(out_of_memory(division, error)) from error
    settings, method = experiment.trainer_settings, experiment.method
    stopped = trainer.should_stop and trainer.current_epoch != trainer.max_epochs
    if (
        stopped
        and not may_end_early(experiment.options, settings, method)
        and (settings["min_epochs"] or settings["min_steps"])
    ):
        raise SettingsError(
            f"{type(method).__name__} has ended its training (trainer.should_stop), which it does not say; set "
            "ends_early = True in its class, so that min_epochs and min_steps count"
        )
    checkpoint = Path(best.best_model_path)
    if not checkpoint.is_file():
        raise SettingsError(
            "training ended without a validation, so there is no best checkpoint; give it at least one epoch, one "
            "training batch and one validation batch"
        )
    plan = next(item for item in trainer.callbacks if isinstance(item, ValidationPlan))  # type: ignore[attr-defined]
    return {
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": sha256_file(checkpoint),
        **({"validation_mIoU": float(best.best_model_score or 0)} if experiment.data.validates else {}),
        "epochs": trainer.current_epoch,
        **({"ended_early": end} if (end := plan.end(trainer)) else {}),
        "step": step_division_facts(division, experiment.method, experiment.trainer_settings["sync_batchnorm"]),
        "training_seconds": meter.seconds,
        "training_peak_mib": meter.peak_mib_of_all_ranks(),
        "unordered_kernels": sorted(kernels),
    }
