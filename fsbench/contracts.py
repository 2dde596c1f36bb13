"""What the runner needs of a method and of a data module; it knows no method and no data set by name.

`methods.base.FewShotMethod` and `datamodules.episodic.EpisodicDataModule` fulfil these; so do
`methods.classifier.Classifier` and `datamodules.classification.ClassificationDataModule`, which never train.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from fsbench.annotations import AnnotationIndex
from fsbench.backbones import FrozenBackbone
from fsbench.ensembles import NShotStrategy
from fsbench.episodes import EpisodeBatch
from fsbench.manifest import Manifest
from fsbench.protocol import Protocol as Rules
from fsbench.samplers import Pool

if TYPE_CHECKING:
    from fsbench.checkpoints import AuthorsForm  # which needs this module


class Method(Protocol):
    """A LightningModule whose validation and test steps return {"results": [EpisodeResult, ...]}; or NamedQueries where
    it `answers` "classification"."""

    answers: str
    backbone: FrozenBackbone
    authors_form: "ClassVar[AuthorsForm]"
    learns: bool
    calibrates: bool
    sees_all_shots: bool
    nshot_strategy: NShotStrategy

    @property
    def segments_only(self) -> bool: ...

    def remarks(self, data: "Episodes") -> list[str]: ...

    def check_image_size(self, size: int) -> None: ...

    def check_shots(self, test: int, training: int | None) -> None: ...

    def checkpoint_settings(self) -> dict[str, Any]: ...

    def select_learned(self, learned: dict[str, Any], whose: str) -> tuple[dict[str, Any], dict[str, Any]]: ...

    def calibrate(self, episodes: Iterable[EpisodeBatch]) -> dict[str, float]: ...

    def trainable(self, ways: int) -> int: ...

    def total(self, ways: int) -> int: ...

    def parameters(self) -> Iterator[Any]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class Episodes(Protocol):
    """A LightningDataModule that draws its episodes from manifests, for methods that have the same `answers`."""

    answers: str
    dataset: AnnotationIndex
    protocol: Rules
    fold: int
    way: int
    shot: int
    training_shot: int
    setting: str
    image_size: int
    batch_size: int
    validation: str
    seed: int
    done: frozenset[int]

    @property
    def manifest(self) -> Manifest: ...

    @property
    def files_sha256(self) -> str: ...

    @property
    def training_lists(self) -> str: ...

    @property
    def training_options(self) -> dict[str, Any]: ...

    @property
    def test_options(self) -> dict[str, Any]: ...

    def check_unseen(self, trained_on: dict[str, Any], what: str) -> None: ...

    @property
    def validation_manifest(self) -> Manifest: ...

    @property
    def training_pool(self) -> Pool: ...

    def calibration_episodes(self) -> Iterator[EpisodeBatch]: ...
