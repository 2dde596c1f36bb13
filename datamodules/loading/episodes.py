"""Turn the names of an episode into tensors: decode, resize, rename; and the data sets that loaders read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from datamodules.loading.augment import bounding_boxes
from datamodules.loading.decoding import DecodedImageCache
from fsbench.data.batch import EpisodeBatch, Truth
from fsbench.data.dataset import SegmentationIndex
from fsbench.data.label_maps import way_labels
from fsbench.data.transforms import RESIZES
from fsbench.episodes.episode import Episode
from fsbench.protocols.draws import draw_episode
from fsbench.protocols.geometry import Geometry
from fsbench.protocols.pools import Pool


@dataclass(frozen=True)
class LoadingConfig:
    """Settings of loading that decide the tensors of an episode.

    Attributes:
        size: side S of images in pixels.
        geometry: how images and the truth are seen.
        all_ways: tell also what supports show of the other ways.
        cache_bytes: memory of a loader process for decoded files that other episodes need as well.
        box_supervision: support labels are bounding boxes of the masks.
    """

    size: int
    geometry: Geometry = field(default_factory=Geometry)
    cache_bytes: int = 0
    box_supervision: bool = False
    all_ways: bool = False

    def files(self, index: SegmentationIndex) -> DecodedImageCache:
        """Return an empty cache of decoded files."""
        return DecodedImageCache(index, RESIZES[self.geometry.resize][0], self.size, self.cache_bytes)


def load_episode(
    index: SegmentationIndex, episode: Episode, config: LoadingConfig, files: DecodedImageCache | None = None
) -> EpisodeBatch:
    """Decode one episode (a batch of one); `files` caches what earlier episodes decoded.

    Raises DataError naming the file that cannot be decoded or whose mask has another size.
    """
    files, resize_labels = files or config.files(index), RESIZES[config.geometry.resize][1]
    names = list(dict.fromkeys([episode.query, *(name for way in episode.supports for name in way)]))
    rows = {name: row for row, name in enumerate(names)}
    images, labels = [], {}
    for name in names:
        image, labels[name] = files.decoded(name)
        images.append(image)
    query = way_labels(labels[episode.query], index.label_values(episode.query, episode.classes))
    present = [n in query for n in range(1, len(episode.classes) + 1)]  # anywhere at original size, also in training
    side = config.size
    to_boxes = bounding_boxes if config.box_supervision else np.asarray
    support_labels = [
        [
            resize_labels(to_boxes(way_labels(labels[name], index.label_values(name, [number]))), side, side)
            for name in way
        ]
        for number, way in zip(episode.classes, episode.supports, strict=True)
    ]
    shown = None
    if config.all_ways:
        all_ways = [
            [
                resize_labels(way_labels(labels[name], index.label_values(name, episode.classes)), side, side)
                for name in way
            ]
            for way in episode.supports
        ]
        shown = torch.from_numpy(np.array([all_ways]))
    target, size = config.geometry.truth(query, side)
    support = torch.tensor([[[rows[name] for name in way] for way in episode.supports]])
    return EpisodeBatch(
        images=torch.stack(images),
        image_names=names,
        query=torch.zeros(1, dtype=torch.int64),
        support=support,
        support_labels=torch.from_numpy(np.array([support_labels])),
        valid=torch.ones(support.shape, dtype=torch.bool),
        query_sizes=torch.tensor([size]),
        episodes=torch.tensor([episode.index]),
        truth=Truth([torch.from_numpy(target)], torch.tensor([present]), torch.tensor([episode.classes])),
        support_ways=shown,
    )


class ManifestEpisodes(Dataset[EpisodeBatch]):
    """The episodes of a manifest.

    Args:
        index: the data set.
        episodes: in the order in which they are read.
        config: how they are loaded.
        next_shown: for the place of an episode the `next_shown` of its batch. The decoded files of a process that
            loads all episodes make room by it. One of several loads only some of them, so that an image's next place
            may be another's: its files make room by last use, and go where nobody shows the image again.
    """

    def __init__(
        self,
        index: SegmentationIndex,
        episodes: Sequence[Episode],
        config: LoadingConfig,
        next_shown: Mapping[int, Mapping[str, int | None]] | None = None,
    ):
        self.index = index
        self.episodes = episodes
        self.config = config
        self.files = config.files(index)
        self.next_shown = next_shown or {}

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, i: int) -> EpisodeBatch:
        batch = load_episode(self.index, self.episodes[i], self.config, self.files)
        next_shown = self.next_shown.get(i, {})
        worker = get_worker_info()
        loads_all = worker is None or worker.num_workers == 1
        for name, place in next_shown.items():
            if loads_all or place is None:
                self.files.cache.expect(name, place)
        return replace(batch, next_shown=next_shown)


class TrainingEpisodes(Dataset[EpisodeBatch]):
    """1-way episodes of `shot` supports drawn on the fly; item (epoch, i) is a function of (seed, epoch, i) alone.

    `change` loads episodes in another way, from (index, episode, (seed, epoch, i)).

    An epoch has one item per training pair where queries are listed (PASCAL), else one per distinct training image
    (COCO, fscs-protocol §3; PFENet's protocol).
    """

    def __init__(
        self,
        index: SegmentationIndex,
        pool: Pool,
        config: LoadingConfig,
        allow_background_queries: bool,
        seed: int,
        shot: int = 1,
        change: Callable[[SegmentationIndex, Episode, tuple[int, ...]], EpisodeBatch] | None = None,
    ):
        self.index = index
        self.pool = pool
        self.shot = shot
        self.change = change
        self.config = config
        self.files = config.files(index)
        self.allow_background_queries = allow_background_queries
        self.seed = seed

    def __len__(self) -> int:
        return len(self.pool.pairs if self.pool.query_sampling == "sequential" else self.pool.images)

    def __getitem__(self, item: tuple[int, int]) -> EpisodeBatch:
        epoch, i = item
        rng = np.random.RandomState([self.seed, 1, epoch, i])
        episode = draw_episode(i, rng, self.pool, way=1, shot=self.shot, background=self.allow_background_queries)
        if self.change is not None:
            return self.change(self.index, episode, (self.seed, epoch, i))
        return load_episode(self.index, episode, self.config, self.files)
