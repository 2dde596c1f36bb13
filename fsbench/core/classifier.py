"""The base classes of methods that classify: name the class of every query image by labelled supports.

A subclass says `classify(query, support, labels)`, of images or of their frozen features. Episodes, places in a data
set, stored features and seeds are here. What a method draws follows from the seed and the episode's number alone, and
nothing is left of an episode when the next one comes.

Shapes: N ways, B = N·K supports, M = N·q queries, S image side, D channels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

from fsbench.base.errors import SettingsError
from fsbench.base.files import fingerprint
from fsbench.base.files.cache import entry_path
from fsbench.core.global_state import tf32_allowed
from fsbench.core.method import Method
from fsbench.core.needs import Needs
from fsbench.core.seeded_block import seed_torch
from fsbench.data.batch import ImageEpisode, normalise
from fsbench.networks.backbones.feature_store import FeatureStore
from fsbench.networks.backbones.timm_networks import FEATURE_VERSION, Encoder

PACKAGES = ("timm", "pillow", "simplejpeg")
"""Packages, beside torch, that a feature depends on."""

RUN = (1,)
"""Key of the random numbers that are the same in every episode; without one they would be the first episode's."""


@dataclass(frozen=True)
class Draws:
    """Seeded random numbers for one classification episode.

    Attributes:
        seed: random seed of the run.
        episode: number of the episode that is being answered.
    """

    seed: int
    episode: int

    @contextmanager
    def seeded(self) -> Iterator[np.random.Generator]:
        """Within the block, seed torch's generators from the run's seed and the episode's number.

        Yields:
            A numpy generator seeded from the run's seed and the episode's number.
        """
        numbers = np.random.SeedSequence([self.seed, self.episode])
        with seed_torch(_number(numbers)):
            yield np.random.default_rng(numbers.spawn(1)[0])

    @contextmanager
    def seeded_for_run(self) -> Iterator[None]:
        """Within the block, seed torch's generators from the run's seed alone, equal for all episodes."""
        with seed_torch(_number(np.random.SeedSequence(self.seed, spawn_key=RUN))):
            yield


def _number(numbers: np.random.SeedSequence) -> int:
    return int(numbers.generate_state(1, np.uint64)[0])


class Classifier(Method):
    """Base class of few-shot image classification methods; subclasses write `classify`.

    A classifier learns within an episode, if at all: it has no training phase and no checkpoint.

    Attributes:
        draws: seeded random generators for the episode that is being answered.
    """

    task = "classification"
    backbone: Encoder
    backbone_type = Encoder
    learns = False
    predicts_presence = True  # a label says which class is there
    draws: Draws

    def classify(self, query: Tensor, support: Tensor, labels: Tensor) -> Tensor:
        """Return the predicted class numbers (M,) int64, in 0..N-1, of M query images, without gradient.

        Args:
            query: normalised images (M, 3, S, S) float32; for a `FeatureClassifier` feature vectors (M, D).
            support: the episode's B labelled images, as images (B, 3, S, S), or for a `FeatureClassifier` as feature
                vectors (B, D).
            labels: (B,) int64, the class number 0..N-1 of each support; every class has at least one support.
        """
        raise NotImplementedError

    def answer(self, episode: ImageEpisode) -> Tensor:
        """Return the predicted class numbers (M,) int64 of an episode's queries, in the order of `episode.query`."""
        self.draws = Draws(episode.seed, episode.number)
        with torch.inference_mode(False), torch.no_grad():  # autograd, where it is enabled, can read what is made here
            support, query = self.inputs(episode)
            return self.classify(query, support, episode.labels(self.device))

    def inputs(self, episode: ImageEpisode) -> tuple[Tensor, Tensor]:
        """Return (supports, queries) of an episode as `classify` takes them.

        By default they are normalised images, (B, 3, S, S) and (M, 3, S, S) float32.
        """
        return episode.pixels()

    def num_trainable_parameters(self, ways: int) -> int:
        """Return the number of parameters that the method trains in an episode with `ways` classes."""
        return 0

    def check_shots(self, test: int, training: int | None) -> None:
        if self.nshot_strategy != "own":
            raise SettingsError(f"nshot_strategy is {self.nshot_strategy}, but classifiers see all shots; expected own")

    def filter_state_dict(self, learned: dict[str, Tensor], whose: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        raise SettingsError(f"{whose}: classifiers learn anew in every episode; expected no checkpoint")

    def answer_batch(self, batch: Sequence[ImageEpisode]) -> list[np.ndarray]:
        return [self.answer(episode).cpu().numpy() for episode in batch]

    def on_device(self, batch: Sequence[ImageEpisode]) -> list[ImageEpisode]:
        return [episode.to(self.device, non_blocking=True) for episode in batch]


class FeatureClassifier(Classifier):
    """Base class of few-shot classifiers that see one feature vector of the frozen network per image.

    The network encodes each image by itself, once for all episodes, runs and processes; the feature vector is stored on
    disk (`fsbench.networks.backbones.feature_store`). With the backbone's setting `cache_mib: 0` an image is encoded
    anew for every episode.
    """

    needs = Needs(features=True)
    store: FeatureStore | None = None
    data: Any = None

    def begin_test(self, data: Any) -> None:
        if data is not None:  # else images are asked for one by one
            self.encode_shown(data)
            if distributed.is_available() and distributed.is_initialized():
                distributed.barrier()

    def encode_shown(self, data: Any) -> None:
        """Encode the images of all unfinished episodes that have no stored feature yet; processes share the work.

        Args:
            data: the data module of the classification test.
        """
        self.data = data
        if not self.backbone.cache.max_bytes:
            return
        path = entry_path("features", self._feature_id())
        self.store = FeatureStore(path, len(self.data.names), self.backbone.width)
        shown = {
            int(p) for e in self.data.unfinished_episodes() for part in self.data.places(e) for p in part.flatten()
        }
        missing = [place for place in sorted(shown) if not self.store.has(place)]
        for place, image in self.data.images(self.data.share(missing)):
            self.store.put(int(place), self._encode(image).cpu().numpy())

    def _feature_id(self) -> str:
        """Hash everything that a feature follows from: weights, files, size, rounding, code."""
        device = self.device
        processor = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.get_num_threads()
        rounding = [torch.__version__, device.type, processor, *tf32_allowed(), self.backbone.precision]
        name, digest = self.backbone.name, self.backbone.digest
        images = [self.data.files_sha256, fingerprint(self.data.names), self.data.image_size]  # and whose each row is
        return fingerprint([name, digest, *images, rounding, _versions()])[:32]

    def _encode(self, image: Tensor) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):
            return self.backbone.encode(normalise(image.to(self.device)))

    def inputs(self, episode: ImageEpisode) -> tuple[Tensor, Tensor]:
        return self.features(episode.support.flatten()), self.features(episode.query.flatten())

    def features(self, places: Tensor) -> Tensor:
        """Return the features (n, D) float32 of the images at the positions `places` (n,) in the data set."""
        numbers = places.tolist()
        if self.store is None:
            return torch.stack([self._encode(self.data.image(place)) for place in numbers])
        for place in numbers:
            if not self.store.has(place):  # another rank's, whose disk is another
                self.store.put(place, self._encode(self.data.image(place)).cpu().numpy())
        return torch.from_numpy(self.store.rows(np.asarray(numbers))).to(self.device)


@cache
def _versions() -> list[str]:
    """Return the versions of everything that decodes and encodes, here and in other packages."""
    packages = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # simplejpeg need not be installed
            packages.append(f"{name} {version(name)}")
    return [*packages, f"features {FEATURE_VERSION}"]
