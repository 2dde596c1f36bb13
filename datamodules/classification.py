"""Episodes of few-shot classification from any data set of labelled photos (fort.md §1-§4)."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from hashlib import sha256
from itertools import islice
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fsbench.base.tensor_cache import FeatureCache
from fsbench.data.batch import ImageEpisode
from fsbench.data.dataset import ClassificationData
from fsbench.data.episodes.episode import ClassificationEpisode
from fsbench.data.episodes.manifest import CLASSIFICATION, Manifest
from fsbench.data.episodes.task import ClassificationTask
from fsbench.datamodules.datamodule import DataModule
from fsbench.datamodules.loading.distributed import ContiguousDistributedSampler, ranks
from fsbench.datamodules.loading.items import ImageLoading, centre_image, load_image_episode
from fsbench.datamodules.loading.loader import Loader, end_quietly
from fsbench.datamodules.options import Loading
from fsbench.protocols.reading import load_protocol

PROTOCOL = "fort"
"""The protocol of the tests."""


class ClassificationDataModule(DataModule):
    """Data module of few-shot classification: test episodes about all classes of a data set, without training.

    Args:
        dataset: the photos and their classes.
        test: ways, shots and queries of the test.
        loading: options of loading, such as the number of worker processes.
        image_size: side S in pixels of the square images.
        seed: with the episode's number, the seed of random numbers of methods (first weights, order of images).

    Raises:
        SettingsError: the fold is not 0 (classification has no folds), or an option is too small.
    """

    task = CLASSIFICATION
    test: ClassificationTask

    def __init__(
        self,
        dataset: ClassificationData,
        test: ClassificationTask = ClassificationTask(),
        loading: Loading = Loading(),
        image_size: int = 224,
        seed: int = 0,
    ):
        super().__init__(dataset, test, image_size, loading, seed)
        self.protocol = load_protocol(PROTOCOL)
        self.protocol.draw.check_task(PROTOCOL, dataset, test)

    @property
    def test_words(self) -> tuple[str, ...]:
        """Words of which folder names for this test consist: data set, protocol, ways and shots."""
        drawn = f"-{self.test.draws}draws" if self.test.draws > 1 else ""
        return self.dataset.name, self.protocol.name, f"{self.test.way}way{self.test.shot}shot{drawn}"

    @cached_property
    def manifest(self) -> Manifest:
        return self.protocol.manifest(self.dataset, self.test)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all images; episodes and features refer to an image by its position in this tuple.

        Methods see these positions; so names are ordered by a hash, which gives away no classes and is the same in
        every run.
        """
        listed = self._listed
        return tuple(listed[number] for number in self._mixed)

    @property
    def _listed(self) -> list[str]:
        """Names of all images, class by class."""
        return [name for images in self.dataset.images for name in images]

    @cached_property
    def _mixed(self) -> list[int]:
        """Number, class by class, of the image at every place: the order of the names' hashes."""
        digests = [sha256(name.encode("utf-8", "surrogateescape")).digest() for name in self._listed]
        return sorted(range(len(digests)), key=digests.__getitem__)

    @cached_property
    def class_places(self) -> tuple[tuple[int, ...], ...]:
        """Positions in `names` of the images of each class."""
        places = [0] * len(self._mixed)
        for place, number in enumerate(self._mixed):
            places[number] = place
        following = iter(places)
        return tuple(tuple(islice(following, len(images))) for images in self.dataset.images)

    @property
    def image_loading(self) -> ImageLoading:
        """Settings by which episodes are loaded; without images if the method takes features."""
        return ImageLoading(self.names, self.class_places, self.image_size, self.seed, not self.needs.features)

    def places(self, episode: ClassificationEpisode) -> tuple[Tensor, Tensor]:
        """Return the positions in `names` of an episode's supports (N, K) and queries (N, q), int64."""
        return self.image_loading.places(episode)

    def image(self, place: int) -> Tensor:
        """Return the image at a position in `names`, (3, S, S) uint8.

        Raises:
            DataError: its file cannot be read.
        """
        return centre_image(self.dataset, self.names[place], self.image_size)

    def images(self, places: Sequence[int]) -> Iterable[tuple[int, Tensor]]:
        """Yield (position, image) for the given positions in `names`, decoded by loader processes."""
        return self._loader(Photos(self, places), range(len(places)), 1)

    def test_batches(self) -> DataLoader[ImageEpisode]:
        """Return a loader of the unfinished episodes, with images if the method needs them."""
        items = ImageEpisodes(self, self.unfinished_episodes())
        return self._loader(items, ContiguousDistributedSampler(len(items)), self.loading.eval_batch_size)

    def _loader(self, items: Dataset[Any], sampler: Iterable[int], batch_size: int) -> DataLoader[Any]:
        single = isinstance(items, Photos)
        return Loader(
            items,
            batch_size,
            sampler=sampler,
            num_workers=self.loading.workers,
            worker_init_fn=end_quietly,
            collate_fn=_first if single else list,
        )

    def share(self, places: Sequence[int]) -> Sequence[int]:
        """Return those of the positions in `names` whose images this process of several encodes."""
        rank, world = ranks()
        return places[rank::world]


def _first(items: list[Any]) -> Any:
    return items[0]


class Photos(Dataset[tuple[int, Tensor]]):
    """Single images of a classification data set, as a torch dataset for a loader."""

    def __init__(self, data: ClassificationDataModule, places: Sequence[int]):
        self.data, self.size = data.dataset, data.image_size
        self.items = [(place, data.names[place]) for place in places]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> tuple[int, Tensor]:
        place, name = self.items[i]
        return place, centre_image(self.data, name, self.size)


class ImageEpisodes(Dataset[ImageEpisode]):
    """The classification episodes of a test, as a torch dataset that decodes them one by one."""

    def __init__(self, data: ClassificationDataModule, episodes: Sequence[ClassificationEpisode]):
        self.data, self.episodes = data.dataset, episodes
        self.config = data.image_loading
        self.files = FeatureCache(data.loading.cache_bytes)

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, i: int) -> ImageEpisode:
        return load_image_episode(self.data, self.episodes[i], self.config, self.files)
