"""The base class of every method, of segmentation and of classification.

It has the steps of a plain Trainer of Lightning, too: `fit`, `validate`, `test` and `predict` log the suite's scores,
which its data module counts. A run of the suite keeps the truth of its evaluations from the method; a Trainer by hand
gives it whole batches, which are parted here.
"""

from collections.abc import Iterable
from dataclasses import is_dataclass
from math import isqrt
from typing import Any, ClassVar, Literal, NamedTuple

import lightning as L
import torch
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.base.memory import check_memory, machine_memory
from fsbench.core.needs import Needs
from fsbench.core.released_format import WRITTEN_BY, ReleasedFormat
from fsbench.core.shot_ensemble import NShotStrategy
from fsbench.data.annotations import KnownOrNot, Supervision
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone


class AuthorsShots(NamedTuple):
    """Numbers of shots for which a method's authors define how shots are combined.

    Attributes:
        numbers: the numbers of shots that the authors' rule covers, ascending.
        why: a few words, for tables, on what the authors do not define for other numbers of shots, and what fsbench
            does instead.
    """

    numbers: tuple[int, ...]
    why: str


class Method(L.LightningModule):
    """Base class of all methods: a LightningModule on a frozen backbone that answers the episodes of a test.

    Subclass `fsbench.core.segmenter.Segmenter` or `fsbench.core.classifier.Classifier`. Modules and parameters that a
    subclass registers are trainable and stored in checkpoints; the frozen backbone is neither.

    Args:
        backbone: settings of the frozen backbone.

    Raises:
        CheckpointError: the backbone's weights are missing.
    """

    task: ClassVar[Literal["segmentation", "classification"]]
    registry_name: ClassVar[str]
    """Name in identities and checkpoints: the class's, in lower case. It outlives a move of the class."""
    backbone: FrozenBackbone
    backbone_type: ClassVar[type[FrozenBackbone]]
    """Kind of features that the method takes."""
    released_format: ClassVar[ReleasedFormat] = ReleasedFormat()
    """Layout of the authors' checkpoints."""
    learns: bool = True
    """False for methods without training: the run goes straight to the evaluation."""
    needs: Needs = Needs()
    """Needs of the method's data beside images and masks; a property where they follow from settings."""
    step_is_a_mean: bool = False
    """True if the loss of a batch is the mean of its episodes' own losses, without random draws and without statistics
    of the batch: then a step's division over processes and micro-batches changes no more than rounding."""
    sees_all_shots: bool = True
    """True for methods that take K shots in one pass; of methods that segment their rule for shots tells."""
    sees_supports: ClassVar[bool] = True
    """False for baselines that answer from the query alone: a method that does not beat one learned nothing from its
    supports, which tables say."""
    authors_shots: AuthorsShots | None = None
    """Where the authors' rule for K shots ends; None where it serves every number. Runs beyond it say so."""
    trains_one_shot: bool = False
    """True for methods whose training looks at one support of an episode, whatever K is tested."""
    segments_base_classes: bool = False
    """True for methods that also label classes without a support, which their network was trained on."""
    predicts_presence: bool = False
    """True for methods that say by themselves which ways are present, a property where that follows from settings; of
    those that only segment presence follows from the mask."""
    depends_on_way_order: bool = False
    """True for methods whose answer may change with the order of an episode's ways beyond their numbers, as where
    something is drawn for each way."""
    nshot_strategy: NShotStrategy = "own"
    """How K shots become one prediction; set by the run's option of this name."""
    keeps_soft_masks: bool = False
    """Whether results hold soft masks and attention maps, too; set by the run's option `keep_predictions`. Without it
    a prediction has no attention, and need not have a `probability`."""
    attention_meaning: ClassVar[str] = ""
    """In a few words for readers of a report, the meaning of `Prediction.attention`; "" where a method has none."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registry_name = cls.__name__.lower()

    def __init__(self, backbone: BackboneConfig):
        super().__init__()
        self.backbone = self.backbone_type(backbone)

    def answer_batch(self, batch: Any) -> list[Any]:
        """Return one answer for each episode of a batch, which holds no ground truth and is on the method's device."""
        raise NotImplementedError

    def on_device(self, batch: Any) -> Any:
        """Move a batch to the method's device."""
        return batch.to(self.device, non_blocking=True)

    def begin_test(self, data: Any) -> None:
        """Prepare for the episodes of a test; `data` is its data module, or None for single batches."""

    def end_test(self) -> None:
        """Drop everything kept for the test that ended, such as features of its images."""

    @property
    def supervision(self) -> tuple[Supervision, ...]:
        """Kinds of labels that the method gets for supports and in training, such as `("boxes", "class names")`.

        Only methods with the same kinds of labels are ranked together. By default masks in segmentation and image
        labels in classification; a subclass overrides it.
        """
        return ("masks",) if self.task == "segmentation" else ("image labels",)

    @property
    def saw_test_classes(self) -> KnownOrNot:
        """Whether the method's pretrained networks saw labels of the test's classes; "no" unless overridden.

        The method's own training is not meant: a run knows its classes and compares them itself. Values are "yes", "no"
        and "unknown"; methods with different values are not ranked together. More detail belongs in `record_notes`.
        """
        return "no"

    def saw_classes_of(self, dataset: str) -> KnownOrNot:
        """Return whether pretrained networks, the frozen backbone included, saw labels of this data set's classes.

        Args:
            dataset: name of the data set.

        Returns:
            "yes", "no" or "unknown".
        """
        own = self.saw_test_classes
        return own if own != "no" else self.backbone.saw_classes_of(dataset)

    def record_notes(self, data: Any) -> list[str]:
        """Return notes (one sentence each) on the method's settings, stored with results and shown below tables.

        Args:
            data: the data module of the test.
        """
        return []

    @property
    def total_steps(self) -> int:
        """Number of optimiser steps of the whole training, at least 1, for learning-rate schedules."""
        return max(int(self.trainer.estimated_stepping_batches), 1)

    def num_trainable_parameters(self, ways: int) -> int:
        """Return the number of trainable parameters (the backbone is frozen) for episodes of `ways` classes."""
        return sum(parameter.numel() for parameter in self.parameters())

    def num_parameters(self, ways: int) -> int:
        """Return the number of all parameters, including the frozen backbone's, for episodes of `ways` classes."""
        return self.num_trainable_parameters(ways) + self.backbone.num_parameters

    def check_data(self, data: Any) -> None:
        """Check that the method can be tested on this data module.

        Raises:
            SettingsError: the data module is of another task, requires labels of base classes, which the method does
                not predict, or its images or batches need more memory than this machine has.
        """
        if self.task != data.task:
            raise SettingsError(
                f"{self.registry_name} is a method of {self.task}, and the data module one of {data.task}; expected "
                "both of one kind (see: fsbench list)"
            )
        if data.protocol.draw.asks_base_classes and not self.segments_base_classes:
            raise SettingsError(
                f"the protocol {data.protocol.name} asks for base classes too, and {self.registry_name} labels those "
                "that it has supports of; choose METHOD=diam, or bam with its base learner, or another protocol"
            )
        self.check_image_size(data.image_size)
        batch, way, shot = data.loading.eval_batch_size, data.test.way, data.test.shot
        check_memory(
            12 * batch * (1 + way * shot) * data.image_size**2,
            f"{batch} episodes at once of {way} ways and {shot} shots, images of {data.image_size} pixels,",
            "choose a smaller --data.loading.eval_batch_size, --data.image_size or fewer shots",
        )

    def check_image_size(self, size: int) -> None:
        """Raise SettingsError if the method cannot take square images of `size` pixels.

        Methods compare all tokens of an image with each other or with a support's, so the matrix of these pairs must
        fit into this machine's memory.
        """
        self.backbone.check_image_size(size)
        side = self.backbone.token_side
        tokens, most = (size // side) ** 2, side * isqrt(isqrt(machine_memory() // 4))
        check_memory(
            4 * tokens**2,
            f"image_size is {size}: comparisons of its {tokens} tokens with each other",
            f"choose an image_size of at most {most}",
        )

    def check_shots(self, test: int, training: int | None) -> None:
        """Check that the method can use these numbers of shots.

        Args:
            test: shots of a test episode.
            training: shots of a training episode; None if nothing is trained.

        Raises:
            SettingsError: the method trains with one shot only, and `training` is another number.
        """
        if self.trains_one_shot and training not in (None, 1):
            raise SettingsError(
                f"data.training.training_shot is {training}, but {type(self).__name__} trains 1-shot, as its authors "
                "do; expected 1 (--shot is the number of shots that are tested)"
            )

    def beyond_authors_rule(self, shots: int) -> str:
        """Return why the authors' rule for combining shots does not cover `shots` shots.

        The result is a few words for tables (`AuthorsShots.why`), or "" if the rule covers this number.
        """
        if self.authors_shots is None or shots in self.authors_shots.numbers:
            return ""
        covered = " and ".join(map(str, self.authors_shots.numbers))
        return f"the number of shots is beyond the authors' rule, which covers {covered}: {self.authors_shots.why}"

    def loss_weight(self, batch_idx: int) -> float:
        """Return the factor for a micro-batch's loss that makes a step's gradient a mean over its episodes.

        The factor is 1 except in the incomplete last step of an epoch.
        """
        data = self._data_module()
        return 1.0 if data is None else float(data.loss_weight(batch_idx))

    def _data_module(self) -> Any:
        """Return the data module of the trainer; None if there is no trainer, or it has none."""
        try:
            trainer = self.trainer
        except RuntimeError:  # Lightning's words for a method that no trainer has
            return None
        return getattr(trainer, "datamodule", None)

    def checkpoint_settings(self) -> dict[str, Any]:
        """Return {name: value} of settings that weights depend on; checkpoints with other values are refused."""
        return {}

    def filter_state_dict(self, learned: dict[str, Tensor], whose: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Select the weights of a checkpoint that are loaded; by default all of them.

        Args:
            learned: the checkpoint's {name: tensor}, without the backbone's weights.
            whose: description of the checkpoint, such as its path, for error messages.

        Returns:
            The weights to load, {name: tensor}; and {name: value} of those entries of `checkpoint_settings` in which
            the checkpoint may differ from the method.
        """
        return learned, {}

    def calibrate(self, episodes: Iterable[Any]) -> dict[str, float]:
        """Choose settings on labelled episodes of base classes before a test; called only if `needs.calibration`.

        Returns:
            The chosen settings, {name: value}, which are stored with the results.
        """
        raise NotImplementedError

    def configure_adaptation(self, steps: int) -> dict[str, Any]:
        """Return optimiser and schedule of an adaptation, in the form of Lightning's `configure_optimizers`.

        An adaptation trains the method for `steps` steps on labelled images of the test's classes. Called only if
        `needs.adaptation` is set.
        """
        raise NotImplementedError

    def adaptation_loss(self, batch: Any) -> Tensor:
        """Return the loss () of one step of adapting to the test's classes; called only if `needs.adaptation`.

        Args:
            batch: training items, episodes whose query is a randomly changed copy of a labelled support.
        """
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Return the entry that a checkpoint gets about the method, by which a later load is checked.

        Returns:
            {"method": registered name, "settings": `checkpoint_settings()`, "backbone": origin and file name of the
            backbone's weights, "backbone_sha256": sha256 of their names and values}.
        """
        return {
            "method": self.registry_name,
            "settings": self.checkpoint_settings(),
            "backbone": self.backbone.weights_id,
            "backbone_sha256": self.backbone.digest,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[WRITTEN_BY] = self.describe()
        data = self._data_module()
        if data is not None:  # Lightning calls this hook of the method alone
            data.on_save_checkpoint(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Load the backbone's weights from an authors' checkpoint; Lightning then loads the method's own."""
        state: dict[str, Tensor] = checkpoint["state_dict"]
        learned, backbone = self.released_format.split(state) or (state, {})
        checkpoint["state_dict"], _ = self.filter_state_dict(learned, "the checkpoint")
        if backbone:
            self.backbone.replace_weights(backbone, "in the checkpoint")

    # Steps of a Trainer -----------------------------------------------------------------------------------------------

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return self.on_device(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, list[Any]]:
        """Answer a validation batch, without gradients.

        Returns:
            {"answers": one answer per episode}, with {"truths": the ground truth of each episode} unless the data
            module has validation episodes scored elsewhere.
        """
        data = self._data
        if data.counts_validation_elsewhere:
            return {"answers": self.answer_batch(batch)}
        return self._parted(data.validated, batch)

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, list[Any]]:
        """Answer a test batch; return {"answers": one per episode, "truths": the ground truth of each}."""
        return self._parted(self._data.tested, batch)

    def _parted(self, test: Any, batch: Any) -> dict[str, list[Any]]:
        seen, truths = test.part(batch)
        return {"answers": self.answer_batch(seen), "truths": truths}

    def predict_step(self, batch: Any, batch_idx: int) -> list[dict[str, Any]]:
        """Return a dict for each episode of a batch: its `episode` number and the entries of its answer.

        The method does not see the ground truth. Segmentation answers have the fields of `SegmentationAnswer`,
        classification answers have `labels`.
        """
        test = self._data.tested
        seen, _ = test.part(batch)
        answers = self.answer_batch(seen)  # as plain values: Lightning moves no frozen objects
        plain = (dict(vars(answer)) if is_dataclass(answer) else {"labels": answer} for answer in answers)
        return [{"episode": number, **answer} for number, answer in zip(test.numbers(seen), plain, strict=True)]

    @property
    def _data(self) -> Any:
        data = self._data_module()
        if data is None:
            raise SettingsError(
                "the Trainer evaluates a method of fsbench without knowing its test; expected a data module: "
                "trainer.test(method, datamodule=EpisodicDataModule(...))"
            )
        return data
