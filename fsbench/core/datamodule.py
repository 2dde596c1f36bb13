"""The interface of a data module, as experiments and methods use it. No data set is known here by name."""

from collections.abc import Iterator
from typing import Any, Protocol

from torch.utils.data import DataLoader

from fsbench.data.batch import EpisodeBatch
from fsbench.data.dataset import SegmentationIndex
from fsbench.data.step_division import StepDivision
from fsbench.episodes.manifest import Manifest
from fsbench.protocols.pools import Pool
from fsbench.protocols.segmentation import Segmentation


class DataModule(Protocol):
    """A LightningDataModule that draws its episodes from manifests, for methods of the same `task`.

    `datamodules.episodic.EpisodicDataModule` and `datamodules.classification.ClassificationDataModule` implement it.
    Members of training (`training_…`, `validation…`, `batch_size`, `calibration_episodes`) are used only with methods
    that learn or calibrate; `protocol` and `setting` only for segmentation.
    """

    task: str
    """ "segmentation" or "classification"."""
    dataset: SegmentationIndex
    """Images, classes and label maps."""
    protocol: Segmentation
    """How episodes are drawn, resized and scored."""
    fold: int
    """Fold whose classes are tested."""
    way: int
    """N, classes of a test episode."""
    shot: int
    """K, supports of each class in a test episode."""
    training_shot: int
    """Supports of a training episode, which is 1-way."""
    setting: str
    """Which episodes of the protocol are tested, e.g. "original"; see `fsbench.episodes.settings.SETTINGS`."""
    image_size: int
    """Side in pixels that images are resized to."""
    batch_size: int
    """Training episodes per optimiser step, over all processes."""
    validation: str
    """Classes of the validation episodes: "novel", "base" or "held_out"; or "images", which are no episodes."""
    seed: int
    """Seed of the training episodes."""
    workers: int
    """Loader processes."""
    done: frozenset[int]
    """Numbers of the test episodes that are finished already; `test_dataloader` leaves them out."""

    @property
    def test_words(self) -> tuple[str, ...]:
        """Words for people that name the test in folders and loggers, e.g. "pascal", "fscs", "fold0", …"""

    @property
    def manifest(self) -> Manifest:
        """The test episodes."""

    @property
    def files_sha256(self) -> str:
        """Hash of the test episodes' files: exchanged files make another run."""

    @property
    def test_options(self) -> dict[str, Any]:
        """Test settings that differ from their defaults, for the run's identity."""

    @property
    def training_options(self) -> dict[str, Any]:
        """Training settings that differ from their defaults, for the run's identity."""

    @property
    def training_lists(self) -> str:
        """Origin of the lists of base classes, e.g. "official" or "derived"."""

    @property
    def training_pool(self) -> Pool:
        """Images of the base classes, from which training episodes are drawn."""

    @property
    def validation_manifest(self) -> Manifest:
        """The 1-way episodes or whole images that choose the checkpoint."""

    def check_unseen(self, trained_on: dict[str, Any], what: str) -> None:
        """Raise SettingsError if `what` was trained on classes of the test (data set, fold, classes `trained_on`)."""

    def step_division(self, processes: int) -> StepDivision:
        """Return how a training step is divided over this many processes; SettingsError if it cannot be."""

    def loss_weight(self, batch_idx: int) -> float:
        """Return the factor of the loss of micro-batch `batch_idx` of an epoch; 1 in every complete step."""

    def calibration_episodes(self) -> Iterator[EpisodeBatch]:
        """Draw labelled single episodes of base classes, for methods that calibrate."""

    def test_dataloader(self) -> DataLoader[EpisodeBatch]:
        """Return the loader of the test episodes that are not done."""
