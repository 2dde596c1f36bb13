"""The training behind a run's weights, told to its record and to its checkpoints, whose later runs tell it again."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from fsbench.records.run import TRAINED_HERE, UNTRAINED
from fsbench.runner.engine.checkpoint import TRAINING
from fsbench.runner.engine.experiment import Experiment

CHOSEN_BY = "val/mIoU"
"""Score by which the best checkpoint is chosen, the highest."""


class TrainingFacts(Callback):
    """Write the facts of the training into every checkpoint.

    Args:
        experiment: the run that trains.
    """

    def __init__(self, experiment: Experiment):
        self.experiment = experiment

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[TRAINING] = training_facts(self.experiment)


def weights_origin(experiment: Experiment) -> dict[str, Any]:
    """Return where the weights of a run come from, and the facts of their training where they are known."""
    if experiment.trains:
        return {"origin": TRAINED_HERE, "training": training_facts(experiment)}
    return experiment.checkpoint_weights or {"origin": UNTRAINED, "training": None}


def training_facts(experiment: Experiment) -> dict[str, Any]:
    """Return the entries of `fsbench.records.run.Training` for the training of `experiment`, as JSON values."""
    data, identity = experiment.data, experiment.identity
    return {
        "image_size": data.image_size,
        "precision": str(identity.precision),
        "tf32": identity.tf32,
        "settings": identity.training,
        "method": identity.method.as_json(),
        "chosen_by": CHOSEN_BY,
        "episodes": len(data.validation_manifest.episodes),
        "official_episodes": data.validation_manifest.entries.get("official_episodes"),  # whole images have none
    }
