"""The base class of data modules, as experiments and methods use them. No data set is known here by name."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch.utils.data import DataLoader

from fsbench.base.errors import SettingsError, check_at_least
from fsbench.base.terminal import print_note
from fsbench.core.adaptation import Adaptation
from fsbench.core.method import Method
from fsbench.core.needs import Needs
from fsbench.data.annotations import SupportAnnotation
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import Task
from fsbench.datamodules.loading.adaptation_images import AdaptationImages
from fsbench.datamodules.loading.step_division import StepDivision
from fsbench.datamodules.loading.withheld import Batches
from fsbench.datamodules.options import Loading, Training
from fsbench.datamodules.stages import Stages
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.test import Test


class DataModule(L.LightningDataModule, ABC):
    """Base class of data modules whose test episodes are a fixed list, for methods of one `task`.

    Members for training (`training_…`, `validation_manifest`, `calibration_episodes`, `adaptation_images`) are used
    only with methods that learn, calibrate or adapt. In this class most of them raise an error; data modules that train
    override them.

    Args:
        dataset: the data set, with images and classes.
        test: fold, ways and shots of the test.
        image_size: side in pixels that images are resized to.
        loading: options of loading, such as the number of worker processes.
        seed: the seed of random draws in training.
    """

    task: str
    """ "segmentation" or "classification"."""
    protocol: Protocol
    """Protocol of the test, which says how episodes are drawn, resized and scored."""
    training = Training()
    """Items of training and validation."""

    def __init__(self, dataset: Any, test: Task, image_size: int, loading: Loading, seed: int):
        super().__init__()
        check_at_least(0, {"seed": seed})
        test.check()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer episodes left than processes
        self.dataset = dataset
        self.test = test
        self.image_size = image_size
        self.loading = loading
        self.seed = seed
        self.done: frozenset[int] = frozenset()
        """Numbers of the test episodes that are finished already; `test_dataloader` leaves them out."""

        self.needs = Needs()
        """Needs of the method beside images and masks; the experiment sets them."""
        self.trains_elsewhere = False
        """Whether training, and perhaps validation, show images of another data set than the test."""

    @property
    @abstractmethod
    def test_words(self) -> tuple[str, ...]:
        """Words of which folder names for this test consist, such as ("pascal", "fscs", "fold0", …)."""

    @property
    def support_annotation(self) -> SupportAnnotation:
        """Kind of labels of the test's supports ("mask", "box", …; see `fsbench.data.annotations`)."""
        return "mask"

    @property
    @abstractmethod
    def manifest(self) -> Manifest:
        """The test episodes."""

    @cached_property
    def files_sha256(self) -> str:
        """Hash of the contents of the test's image and label files, which is part of a run's identity."""
        return self.tested.files_sha256

    @property
    def test_files(self) -> Sequence[Path]:
        """Image and label files that the test reads."""
        return self.tested.files

    @property
    def base_files(self) -> Sequence[Path]:
        """Image and label files that training and calibration draw from."""
        raise self._untrained()

    @property
    def validation_files(self) -> Sequence[Path]:
        """Image and label files that the validation reads."""
        raise self._untrained()

    @property
    def base_files_sha256(self) -> str:
        """Hash of the contents of the files that training and calibration draw from."""
        raise self._untrained()

    @property
    def validation_files_sha256(self) -> str:
        """Hash of the contents of the files that the validation reads."""
        raise self._untrained()

    @property
    def test_options(self) -> dict[str, Any]:
        """{name: value} of test settings that differ from their defaults, for the run's identity."""
        return self.test.differing

    def setup(self, stage: str) -> None:
        """Make Lightning's Trainer do for a method what a run does; another module gets whole batches and no score."""
        trainer: Any = self.trainer
        if trainer is None:  # its loaders alone are wanted
            return
        if not isinstance(trainer.lightning_module, Method):
            check_other_module(trainer.lightning_module, stage)
        elif not any(isinstance(one, Stages) for one in trainer.callbacks):
            trainer.callbacks = [Stages(self, stays=False), *trainer.callbacks]

    @property
    def _stages(self) -> Stages | None:
        """The callback of the Trainer that runs a method now; None where loaders are wanted by themselves."""
        trainer: Any = self.trainer
        if trainer is None or trainer.state.status != TrainerStatus.RUNNING:
            return None
        stages = next((one for one in trainer.callbacks if isinstance(one, Stages)), None)
        if stages is None and isinstance(trainer.lightning_module, Method):
            raise SettingsError(
                f"{type(self).__name__}.setup leaves out what a Trainer does for a method; call super().setup(stage)"
            )
        return stages

    def train_dataloader(self) -> Any:
        """Return the loader of training episodes."""
        return self.training_batches() if self._stages is None else Batches(self.training_batches())

    def val_dataloader(self) -> Any:
        """Return the loader of the validation; a Trainer's method gets its batches without their truth."""
        if not self.validates:
            return []  # by which a Trainer validates nothing
        return self._shown(self.validation_batches(), lambda: self.validated)

    def test_dataloader(self) -> Any:
        """Return the loader of the unfinished test episodes; a Trainer's method gets them without their truth."""
        return self._shown(self.test_batches(), lambda: self.tested)

    def predict_dataloader(self) -> Any:
        """Return the loader of the test, for `trainer.predict`."""
        return self._shown(self.test_batches(), lambda: self.tested, kept=False)

    def _shown(self, loader: Any, test: Callable[[], Test], kept: bool = True) -> Any:
        stages = self._stages
        return loader if stages is None else stages.withheld.hide(loader, test(), kept)

    def unfinished_episodes(self) -> Sequence[Any]:
        """Return the test episodes that have no answer yet, in the manifest's order."""
        return [episode for episode in self.manifest.episodes if episode.number not in self.done]

    def training_batches(self) -> DataLoader[Any]:
        """Return the loader of training items, each epoch with its own."""
        raise self._untrained()

    def validation_batches(self) -> DataLoader[Any]:
        """Return the loader of this process's share of the validation, with its truth."""
        raise self._untrained()

    @abstractmethod
    def test_batches(self) -> DataLoader[Any]:
        """Return the loader of this process's share of the unfinished test episodes, with their truth."""

    def check_unseen(self, trained_on: dict[str, Any], what: str) -> None:
        """Raise SettingsError if weights were trained on classes that are novel in this test.

        Args:
            trained_on: {name: value} of the training: data set, fold, protocol and class names.
            what: words for the weights, for the message.
        """
        self.tested.check_unseen(trained_on, what)

    @property
    def trained_on(self) -> dict[str, Any] | None:
        """{name: value} of what a training here learns: data set, fold, protocol, class names; None for no training."""
        return None

    def seen_test_classes(self, trained_on: dict[str, Any]) -> list[str]:
        """Return the names of the test's classes that a training on another data set has seen."""
        return []

    @property
    def training_options(self) -> dict[str, Any]:
        """{name: value} of training settings that differ from their defaults, for the run's identity."""
        return self.training.differing

    @property
    def training_lists(self) -> str:
        """Where the image lists of base classes come from, such as "official" or "derived"."""
        raise self._untrained()

    @property
    def training_list_notes(self) -> list[str]:
        """Notes for the run's record: which training lists replace missing published ones."""
        return []

    @property
    def training_pool(self) -> Pool:
        """Possible queries and supports of training episodes: images of the base classes."""
        raise self._untrained()

    @property
    def tested(self) -> Test:
        """The test on which the method is evaluated: data set, episodes and protocol."""
        return Test(self.manifest, self.dataset, self.protocol, self.image_size)

    @property
    def validates(self) -> bool:
        """Whether a validation chooses the training's checkpoint; otherwise the last weights are used."""
        return True

    @property
    def validated(self) -> Test:
        """The test on whose scores the checkpoint is chosen; by default the test itself."""
        return self.tested

    @property
    def validation_manifest(self) -> Manifest:
        """The 1-way episodes or whole images on which the checkpoint is chosen."""
        raise self._untrained()

    def step_division(self, processes: int) -> StepDivision:
        """Return how the episodes of an optimiser step are split over `processes` processes.

        Raises:
            SettingsError: the episodes of a step cannot be split equally.
        """
        return StepDivision(self.training.batch_size, processes, self.training.micro_batch)

    def loss_weight(self, batch_idx: int) -> float:
        """Return the factor of the loss of an epoch's micro-batch `batch_idx`; 1 except in an incomplete last step."""
        return 1.0

    def calibration_episodes(self) -> Iterator[Any]:
        """Return labelled episodes of base classes, on which methods calibrate."""
        raise self._untrained()

    def adaptation_images(self, adaptation: Adaptation) -> AdaptationImages:
        """Return the labelled images of the test's classes to which a method adapts before the test."""
        raise self._untrained()

    def whole_validation(self) -> DataLoader[Any]:
        """Return a loader of all validation episodes, so that this process sees them without the other processes."""
        raise self._untrained()

    def _untrained(self) -> SettingsError:
        return SettingsError(
            f"nothing is trained on {self.dataset.name} before a test; choose a method that needs none"
        )


def check_other_module(module: L.LightningModule, stage: str) -> None:
    """Say what a module that is no method of the suite gets; SettingsError if it predicts without a step of its own."""
    name = type(module).__name__
    if stage == "predict" and type(module).predict_step is L.LightningModule.predict_step:
        raise SettingsError(
            f"{name} is no method of fsbench and has no predict_step of its own; expected a Segmenter or a Classifier, "
            "or that step; wrap any other model in a function for fsbench.evaluate"
        )
    rank_zero_only(print_note)(
        f"{name} is no method of fsbench: its steps get whole batches with their truth, and fsbench logs no score; "
        "for one, subclass Segmenter, or wrap the model in a function for fsbench.evaluate"
    )
