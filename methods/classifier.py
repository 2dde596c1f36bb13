"""The contract of a method that classifies images: name the class of every query image of an episode.

Evaluation is written here once. What a method draws follows from the seed and the episode's number alone, and nothing
is left of an episode when the next one comes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import numpy as np
import torch
from torch import Tensor

from fsbench.backbones import BackboneConfig
from fsbench.checkpoints import AuthorsForm
from fsbench.classification import NamedQueries
from fsbench.encoders import Encoder
from fsbench.ensembles import NShotStrategy
from fsbench.errors import SettingsError
from fsbench.feature_store import FeatureStore
from fsbench.files import sha256_file
from fsbench.image_episodes import ImageEpisode, normalised
from fsbench.manifest import CLASSIFICATION
from fsbench.paths import cache_folder
from fsbench.records import fingerprint

CODE = (
    "datamodules/label_maps.py", "fsbench/backbones.py", "fsbench/encoders.py", "fsbench/image_episodes.py",
    "fsbench/pil_resize.py", "fsbench/preprocess.py", "fsbench/pyramids.py",
)  # fmt: skip
"""Modules that a feature is made by."""
PACKAGES = ("timm", "pillow", "simplejpeg")
"""Packages that it is made by, beside torch."""


class Classifier(L.LightningModule):
    """Base of every method of classification.

    Subclasses implement `classify`. They learn in an episode, if at all, so there is no training and no checkpoint.

    Args:
        backbone: the pre-trained network; raises CheckpointError when its weights are missing.
    """

    answers = CLASSIFICATION
    authors_form: ClassVar[AuthorsForm] = AuthorsForm()
    asks_for_features: ClassVar[bool] = False
    """True for methods that see features of the frozen network and no images."""
    learns = calibrates = segments_only = False
    sees_all_shots = True
    nshot_strategy: NShotStrategy = "own"

    def __init__(self, backbone: BackboneConfig):
        super().__init__()
        self.backbone = Encoder(backbone)

    def classify(self, episodes: Sequence[ImageEpisode]) -> list[Tensor]:
        """For each episode the label of each query image, (N·q,) int64, way by way."""
        raise NotImplementedError

    def trainable(self, ways: int) -> int:
        """Parameters that are learned in an episode."""
        return 0

    def total(self, ways: int) -> int:
        """All parameters; those that are learned are among the network's, or beside it."""
        return self.trainable(ways) + self.backbone.parameters

    def remarks(self, data: Any) -> list[str]:
        """What a reader of the record must know of the method's settings on `data`."""
        return []

    def check_image_size(self, size: int) -> None:
        self.backbone.check_image_size(size)

    def check_shots(self, test: int, training: int | None) -> None:
        if self.nshot_strategy != "own":
            raise SettingsError(f"nshot_strategy is {self.nshot_strategy}, but classifiers see all shots; expected own")

    def checkpoint_settings(self) -> dict[str, Any]:
        return {}

    def select_learned(self, learned: dict[str, Tensor], whose: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        raise SettingsError(f"{whose}: classifiers learn anew in every episode; expected no checkpoint")

    def test_step(self, batch: Sequence[ImageEpisode], batch_idx: int) -> dict[str, list[NamedQueries]]:
        named = self.classify(batch)
        return {
            "results": [
                NamedQueries(episode.index, episode.classes, labels.view(episode.query.shape).cpu().numpy())
                for episode, labels in zip(batch, named, strict=True)
            ]
        }

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return [episode.to(device, non_blocking=True) for episode in batch]


class FeatureClassifier(Classifier):
    """Base of methods on features of the frozen network, of which every image has one.

    An image is encoded by itself, once for all episodes, runs and processes (`fsbench.feature_store`; the backbone's
    `cache_mib: 0` encodes it for every episode again).
    """

    asks_for_features = True
    store: FeatureStore | None = None
    data: Any = None

    def on_test_start(self) -> None:
        self.encode_shown(self.trainer.datamodule)  # type: ignore[attr-defined]
        self.trainer.strategy.barrier("encoded")

    def encode_shown(self, data: Any) -> None:
        """Encode what the episodes of `data` that are left show and nobody has encoded yet, a share on each rank."""
        self.data = data
        if not self.backbone.cache.max_bytes:
            return
        self.store = FeatureStore(cache_folder() / "features" / self._what(), len(self.data.names), self.backbone.width)
        shown = {int(p) for e in self.data.left() for part in self.data.places(e) for p in part.flatten()}
        missing = [place for place in sorted(shown) if not self.store.has(place)]
        for place, image in self.data.images(self.data.share(missing)):
            self.store.put(int(place), self._encode(image).cpu().numpy())

    def _what(self) -> str:
        """Of all that a feature follows from."""
        device = self.device
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.get_num_threads()
        rounding = [torch.__version__, device.type, where, torch.backends.cuda.matmul.allow_tf32]
        name, digest = self.backbone.name, self.backbone.digest
        return fingerprint([name, digest, self.data.files_sha256, self.data.image_size, rounding, _code()])[:32]

    def _encode(self, image: Tensor) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):
            return self.backbone.encode(normalised(image.to(self.device)))

    def features(self, places: Tensor) -> Tensor:
        """(…,) places of images -> (…, D) float32."""
        flat = places.flatten().tolist()
        if self.store is None:
            found = torch.stack([self._encode(self.data.image(place)) for place in flat])
        else:
            for place in flat:
                if not self.store.has(place):  # another rank's, whose disk is another
                    self.store.put(place, self._encode(self.data.image(place)).cpu().numpy())
            found = torch.from_numpy(self.store.rows(np.asarray(flat))).to(self.device)
        return found.view(*places.shape, -1)


@cache
def _code() -> list[str]:
    """Of all that decodes and encodes, here and in other packages."""
    there = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # simplejpeg need not be installed
            there.append(f"{name} {version(name)}")
    return [*there, *(sha256_file(Path(__file__).parents[1] / name) for name in CODE)]


@contextmanager
def drawing(episode: ImageEpisode) -> Iterator[np.random.Generator]:
    """Inside, torch's generator on the CPU draws what belongs to the episode, and so does the one that is given."""
    numbers = np.random.SeedSequence([episode.seed, episode.index])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(numbers.generate_state(1, np.uint64)[0]))
        yield np.random.default_rng(numbers.spawn(1)[0])
