"""The data sets that loaders of episodes read: a manifest's, and those that training draws."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from fsbench.data.batch import EpisodeBatch
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.datamodules.loading.augment import Augmentation
from fsbench.datamodules.loading.items import LoadingConfig, load_episode, load_item
from fsbench.datamodules.loading.training import augmented_episode, base_map
from fsbench.datamodules.loading.way_classes import WayClasses
from fsbench.protocols.draws.draw import Draw
from fsbench.protocols.draws.further import redraw_copies_in
from fsbench.protocols.draws.patnet import epoch_seed, recurring_epoch
from fsbench.protocols.episode_rules.hsnet import draw_episode
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.episode_rules.vrp import filled_length, training_steps


class ManifestEpisodes(Dataset[EpisodeBatch]):
    """The segmentation episodes of a list, as a torch dataset that loads them by their position.

    Args:
        draw: the rule by which the episodes were drawn; it also says how they are loaded.
        data: the data set.
        episodes: the episodes in the order in which they are read.
        config: how episodes become tensors, such as the side of images.
        next_shown: {position of an episode: {image name: position of the next episode that shows the image, or None}}.
            If one process loads all episodes, its full cache of decoded files drops the file that is needed last. With
            several loader processes the least recently used file is dropped.
    """

    def __init__(
        self,
        draw: Draw,
        data: SegmentationData,
        episodes: Sequence[Episode],
        config: LoadingConfig,
        next_shown: Mapping[int, Mapping[str, int | None]] | None = None,
        classes: WayClasses | None = None,
    ):
        self.draw = draw
        self.data = data
        self.episodes = episodes
        self.config = config
        self.files = config.files(data)
        self.next_shown = next_shown or {}
        self.classes = classes

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, i: int) -> EpisodeBatch:
        batch = self._load(self.episodes[i])
        if self.classes is not None:
            batch = replace(batch, way_classes=[self.classes.told(self.episodes[i], self._load)])
        next_shown, keys = self.next_shown.get(i, {}), dict(zip(batch.image_names, batch.image_keys, strict=True))
        worker = get_worker_info()
        loads_all = worker is None or worker.num_workers == 1
        for name, place in next_shown.items():
            if loads_all or place is None:
                self.files.cache.expect(name, place)
        return replace(batch, next_shown={keys[name]: place for name, place in next_shown.items()})

    def _load(self, episode: Episode) -> EpisodeBatch:
        return load_item(self.draw, self.data, episode, self.config, self.files)


class TrainingEpisodes(Dataset[EpisodeBatch]):
    """1-way training episodes of `shot` supports, as a torch dataset that draws item (epoch, i) when it is loaded.

    An item depends on the seed, the epoch and i alone. With an `augmentation` images and labels are changed at random.
    With `base_classes` queries also have label maps of these classes.

    If the data set lists queries (PASCAL), an epoch has one item per training pair, else one per distinct training
    image (COCO, fscs-protocol §3; PFENet's protocol). With `official` streams the items are those of VRP-SAM's program,
    whatever the seed: one per image, filled up to equal shares of its processes, in the order of its steps (vrp-sam.md
    §9). With `recurring` epochs the items are those of PATNet's program, in its order: all epochs but the first are the
    same (patnet.md §5).
    """

    def __init__(
        self,
        data: SegmentationData,
        pool: Pool,
        config: LoadingConfig,
        empty: bool,
        seed: int,
        shot: int = 1,
        augmentation: Augmentation | None = None,
        official: bool = False,
        base_classes: Sequence[int] = (),
        recurring: bool = False,
    ):
        self.data = data
        self.pool = pool
        self.base_classes = base_classes
        self.official = official
        self.recurring = recurring
        self._drawn: tuple[int, list[Episode]] | None = None  # an epoch, or its seed, and a program's episodes of it
        self.shot = shot
        self.augmentation = augmentation
        self.config = config
        self.files = config.files(data)
        self.empty = empty
        self.seed = seed
        self._apart = redraw_copies_in(data, pool, supports_repeat=official or recurring)

    def __len__(self) -> int:
        if self.official:
            return filled_length(self.pool)
        return len(self.pool.pairs if self.pool.query_sampling == "sequential" else self.pool.images)

    def __getitem__(self, item: tuple[int, int]) -> EpisodeBatch:
        epoch, i = item
        episode = self._episode(epoch, i)
        if self.augmentation is not None:
            return augmented_episode(self.data, episode, (self.seed, epoch, i), self.augmentation, self.base_classes)
        loaded = load_episode(self.data, episode, self.config, self.files)
        if self.base_classes:
            labels, _ = self.config.view.truth(base_map(self.data, episode.query, self.base_classes), self.config.size)
            loaded.known_truth().base_maps.append(torch.from_numpy(labels))
        return loaded

    def _episode(self, epoch: int, i: int) -> Episode:
        if not (self.official or self.recurring):
            rng = np.random.RandomState([self.seed, 1, epoch, i])
            drawn = draw_episode(i, rng, self.pool, way=1, shot=self.shot, background=self.empty)
            return self._apart(drawn, self.seed, 1, epoch, i)
        number = epoch_seed(epoch, self.seed) if self.recurring else epoch
        if self._drawn is None or self._drawn[0] != number:
            self._drawn = number, self._program_episodes(number)
        return self._apart(self._drawn[1][i], number, i)

    def _program_episodes(self, number: int) -> list[Episode]:
        """Draw the episodes of an epoch as a program does, by the epoch's seed (`recurring`) or number (`official`)."""
        if self.recurring:
            return recurring_epoch(self.pool, len(self), number, self.shot, self.empty)
        return training_steps(self.pool, number, self.shot)
