"""The base class of every method, of segmentation and of classification.

It has the steps of Lightning's Trainer, too: `fit`, `validate`, `test` and `predict` log the suite's scores, which its
data module counts. The truth of what it answers is kept from it, in a run of the suite and with a Trainer by hand.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from functools import wraps
from math import isqrt
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.base.generators import steady
from fsbench.base.memory import check_memory, machine_memory
from fsbench.base.precision import check_precision
from fsbench.core.needs import Needs
from fsbench.core.released_format import ADAPTED_TO, TRAINED_BEFORE, TRAINED_ON, WRITTEN_BY, ReleasedFormat
from fsbench.core.shot_ensemble import ENSEMBLES, NShotStrategy
from fsbench.core.trained_weights import TrainedWeights, check_training, checkpoint_words, fit_weights
from fsbench.data.annotations import WEAK, KnownOrNot, Supervision
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone
from fsbench.networks.weights.files import PLAIN_BESIDE_AVERAGED

FLOAT32 = ("32-true", "32")
"""Precisions in which a frozen network computes in float32 all through."""


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
    ends_early: bool = False
    """True for methods that may end a training before its last epoch (`trainer.should_stop`)."""
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
        for hook in (Method.on_save_checkpoint, Method.on_load_checkpoint):
            own = getattr(cls, hook.__name__)
            if own is not hook:
                setattr(cls, hook.__name__, _with_suite(own, hook))

    def __init__(self, backbone: BackboneConfig):
        super().__init__()
        self.backbone = self.backbone_type(backbone)
        self.learned_from: list[dict[str, Any]] = []  # what is known of the trainings of the weights, the last one last

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

    def check_run(self, data: Any, trains: bool, precision: str = "32-true") -> None:
        """Check what is asked of method, data and backbone together; every door calls it before the first image.

        Args:
            data: the data module of the test.
            trains: whether the method is trained on it.
            precision: the precision of the run, by Lightning's name.

        Raises:
            SettingsError: they do not go together, or weights were trained on classes of the test.
        """
        self._check_task(data)
        self._check_labels(data)
        self._check_rounding(precision)
        if self.nshot_strategy == "one_pass" and not self.sees_all_shots:
            raise SettingsError(
                f"nshot_strategy is one_pass, but {self.registry_name} takes one shot at a time; expected own or an "
                f"ensemble: {', '.join(ENSEMBLES)}"
            )
        if self.nshot_strategy not in get_args(NShotStrategy):
            raise SettingsError(
                f"nshot_strategy is {self.nshot_strategy!r}; expected one of {', '.join(get_args(NShotStrategy))}"
            )
        self.check_shots(self.shots_at_a_time(data.test.shot), data.training.training_shot if trains else None)
        if self.backbone.trained_on:
            data.check_unseen(self.backbone.trained_on, f"the backbone {self.backbone.weights_id}")
        for training in self.learned_from:
            check_training(training, data, f"{self.registry_name} with these weights")

    def shots_at_a_time(self, shots: int) -> int:
        """Return the number of shots of which the method makes one answer; an ensemble joins answers of one."""
        return 1 if self.nshot_strategy in ENSEMBLES else shots

    def _check_task(self, data: Any) -> None:
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

    def _check_labels(self, data: Any) -> None:
        annotation, option = data.support_annotation, self.needs.annotation_option
        if annotation in WEAK and option:
            raise SettingsError(
                f"support_annotation is {annotation}, but {self.registry_name} makes the supports' annotations itself; "
                f"leave support_annotation out and give the method's own option, such as {option} box"
            )
        if annotation in WEAK and "boxes" in self.needs.hints:
            raise SettingsError(
                f"support_annotation is {annotation}, but {self.registry_name} always gets a box of each support; "
                "leave support_annotation out"
            )

    def _check_rounding(self, precision: str) -> None:
        if precision not in FLOAT32:
            check_precision(precision)
        backbone = self.backbone
        if backbone.precision != "fp32" and precision not in FLOAT32:
            raise SettingsError(
                f"backbone_precision is {backbone.precision}, which is for precision 32-true, but this is {precision}; "
                "leave --backbone-precision at fp32, which is the run's own"
            )
        if backbone.cache_dtype != "float32" and (self.task != "segmentation" or precision not in FLOAT32):
            raise SettingsError(
                f"cache_dtype is {backbone.cache_dtype}, which is for segmentation with precision 32-true, but this is "
                f"{self.task} with {precision}; leave model.backbone.cache_dtype at float32"
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
        """Return the suite's data module of the trainer; None if there is no trainer, or it has none."""
        try:
            trainer = self.trainer
        except RuntimeError:  # Lightning's words for a method that no trainer has
            return None
        data = getattr(trainer, "datamodule", None)
        return data if hasattr(data, "check_unseen") else None  # a module of the user's own knows no test

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
        self.is_suite_asked = True
        checkpoint[WRITTEN_BY] = self.describe()
        trained_on = [one[TRAINED_ON] for one in self.learned_from if one.get(TRAINED_ON)]
        if trained_on:
            checkpoint[TRAINED_ON] = trained_on[-1]
        if trained_on[1:]:
            checkpoint[TRAINED_BEFORE] = trained_on[:-1]

    def check_weights(
        self, content: Mapping[str, Any], data: Any = None, path: Path | None = None, image_size: int | None = None
    ) -> TrainedWeights:
        """Compare a checkpoint with the method and, where it is known, with the test; return the weights to load.

        Args:
            content: content of the checkpoint, fsbench's or the authors'; what it does not say is believed.
            data: the data module of the test; None if it is not known yet. `check_run` then compares the rest.
            path: the file, if it is known.
            image_size: side of the images that the method gets, where there is no data module to tell.

        Raises:
            CheckpointError: the checkpoint belongs to another method, other settings or another backbone.
            SettingsError: it was trained on classes of the test, or adapted to a test.
        """
        fitted = fit_weights(self, content, image_size if data is None else data.image_size, path)
        if data is not None:
            check_training(content, data, checkpoint_words(path))
        return fitted

    def take_weights(self, content: Mapping[str, Any], fitted: TrainedWeights, whose: str) -> None:
        """Take the backbone's weights of an authors' checkpoint, and keep what a checkpoint says of its training.

        Args:
            content: content of the checkpoint.
            fitted: its weights, from `check_weights`.
            whose: a few words on the checkpoint, for the origin of the backbone's weights.
        """
        if fitted.backbone:
            self.backbone.replace_weights(fitted.backbone, whose)
        before = [{TRAINED_ON: one} for one in content.get(TRAINED_BEFORE, ())]
        self.learned_from = [*before, {key: content[key] for key in (TRAINED_ON, ADAPTED_TO) if content.get(key)}]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check a checkpoint as a run does, in every stage of a Trainer; Lightning then loads the learned weights."""
        self.is_suite_asked = True
        data = self._data_module()
        path = None if data is None else self.trainer.ckpt_path
        if data is not None and self.trainer.state.fn != TrainerFn.FITTING:
            checkpoint.pop(PLAIN_BESIDE_AVERAGED, None)  # a callback that averages would take these for a test, too
        fitted = self.check_weights(checkpoint, data, None if path is None else Path(path))
        checkpoint["state_dict"] = fitted.learned
        self.take_weights(checkpoint, fitted, "in the checkpoint")

    # Steps of a Trainer -----------------------------------------------------------------------------------------------

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if self.trainer.datamodule is None:  # type: ignore[attr-defined]
            raise loaders_alone()
        if self.trainer.training and self._data_module() is None:
            rank_zero_warn(
                f"{self.registry_name} is trained by a data module that is none of fsbench: its steps are not seeded, "
                "and its checkpoints do not say which classes they have seen"
            )
        return self.on_device(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, list[Any]]:
        """Answer a batch, which its data module gives without its truth; return {"answers": one per episode}."""
        return {"answers": self._answer_in_stage(batch)}

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, list[Any]]:
        """Answer a batch, which its data module gives without its truth; return {"answers": one per episode}."""
        return {"answers": self._answer_in_stage(batch)}

    def _answer_in_stage(self, batch: Any) -> list[Any]:
        if self._data_module() is None:
            raise loaders_alone()
        with steady(self.registry_name, rank_zero_warn):
            return self.answer_batch(batch)

    def predict_step(self, batch: Any, batch_idx: int) -> list[dict[str, Any]]:
        """Return a dict for each episode of a batch: its `episode` number and the entries of its answer.

        Segmentation answers have the fields of `SegmentationAnswer`, classification answers have `labels`.
        """
        answers = self._answer_in_stage(batch)  # as plain values: Lightning moves no frozen objects
        numbers = self._data_module().tested.numbers(batch)
        plain = (dict(vars(answer)) if is_dataclass(answer) else {"labels": answer} for answer in answers)
        return [{"episode": number, **answer} for number, answer in zip(numbers, plain, strict=True)]


def loaders_alone() -> SettingsError:
    return SettingsError(
        "the Trainer runs a method of fsbench on loaders without knowing its test; expected a data module: "
        "trainer.test(method, datamodule=EpisodicDataModule(...))"
    )


def _with_suite(own: Callable[[Any, dict[str, Any]], Any], suite: Callable[[Any, dict[str, Any]], None]) -> Any:
    """Return a subclass's own hook of checkpoints, which calls the suite's where it does not do so itself."""

    @wraps(own)
    def hook(method: Method, checkpoint: dict[str, Any]) -> None:
        method.is_suite_asked = False
        own(method, checkpoint)
        if not method.is_suite_asked:
            suite(method, checkpoint)

    return hook
