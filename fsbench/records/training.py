"""The training behind a run's weights, as its record states it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from fsbench.records.record import Record

TRAINED_HERE = "trained here"
AUTHORS = "the authors' checkpoint"
OTHER_RUN = "another run"
UNTRAINED = "nothing trained"


@dataclass(frozen=True)
class Training:
    """The training behind a run's weights. None stands for what an older record does not tell.

    Attributes:
        origin: TRAINED_HERE, AUTHORS, OTHER_RUN or UNTRAINED.
        stated: False where the record holds nothing of the training, as of a checkpoint that does not tell.
        image_size, precision, tf32: of the training.
        settings: of the trainer and of the training data, as in the identity of a run that trains.
        method: settings of the method that was trained.
        chosen_by: score by which the checkpoint was chosen.
        episodes, official_episodes: number of validation episodes, and the protocol's.
    """

    origin: str | None
    stated: bool = True
    image_size: int | None = None
    precision: str | None = None
    tf32: bool | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    method: Mapping[str, Any] = field(default_factory=dict)
    chosen_by: str | None = None
    episodes: int | None = None
    official_episodes: int | None = None

    @property
    def effective_batch(self) -> int | None:
        """Episodes (or images) of an optimiser step, over all processes and micro-batches.

        Where the settings name processes, their batch size is that of one process and one micro-batch.
        """
        size = self.settings.get("batch_size")
        if size is None or "processes" not in self.settings:
            return size
        return int(size * self.settings["processes"] * (self.settings.get("accumulate_grad_batches") or 1))


_RECORDED = {f.name for f in fields(Training)} - {"origin", "stated"}
"""Arguments that a record may state; others are of later versions."""


def training_of(record: Record) -> Training:
    """Return what the record tells of the training of its weights."""
    weights = record.run.get("weights")
    if weights is None:
        return _of_old_record(record.run["identity"])
    if not weights["training"]:
        return Training(weights["origin"], stated=False)
    return Training(weights["origin"], **{key: value for key, value in weights["training"].items() if key in _RECORDED})


def _of_old_record(identity: Mapping[str, Any]) -> Training:
    """Return what follows from the identity alone: no checkpoint's origin, and no choice of the checkpoint."""
    settings = identity.get("training") or {}
    if "checkpoint_sha256" in settings:
        return Training(None, stated=False)
    if "max_epochs" not in settings:  # None, or what a method is calibrated on
        return Training(UNTRAINED, stated=False)
    return Training(
        TRAINED_HERE,
        image_size=identity.get("image_size"),
        precision=identity.get("precision"),
        tf32=identity.get("tf32"),
        settings=settings,
        method=identity["method"],
    )
