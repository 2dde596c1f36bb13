"""The labelled images of an adaptation: items drawn from the images of the test's own classes."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from fsbench.base.errors import DataError
from fsbench.base.files import fingerprint
from fsbench.core.adaptation import Adaptation
from fsbench.core.query_changes import QueryChanges
from fsbench.data.batch import EpisodeBatch, Truth, collate
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.file_digests import contents_sha256
from fsbench.data.transforms import RESIZES
from fsbench.datamodules.loading.items import LoadingConfig, labelled_image, load_episode
from fsbench.protocols.episode_rules.hsnet import draw, episode_with_repeats
from fsbench.protocols.episode_rules.pools import Pool, TooFewImages


@dataclass(frozen=True)
class AdaptationImages:
    """The labelled images on which a method is fine-tuned before a test (ifa.md §7), as items (epoch, i).

    An item depends on (seed, epoch, i) alone. Classes take turns. For each item an image of the class is drawn and
    discarded, as the authors' program does; then K supports are drawn, which may repeat. One support, changed at
    random, becomes the query.

    Attributes:
        data: the data set.
        pool: the images of the test's classes, from which items are drawn.
        shot: number K of supports of an item.
        seed: the seed of all random draws.
        adaptation: settings of the fine-tuning, such as its number of epochs.
        config: how files become tensors, such as the side of images.
    """

    data: SegmentationData
    pool: Pool
    shot: int
    seed: int
    adaptation: Adaptation
    config: LoadingConfig

    @property
    def per_epoch(self) -> int:
        """Number of training items of an epoch of the adaptation."""
        return self.adaptation.items or len(self.pool.class_ids)

    def episode(self, epoch: int, item: int) -> Episode:
        """Return the names of the query and support images of an item of an epoch.

        Raises:
            DataError: the item's class has only one image.
        """
        rng = np.random.RandomState([self.seed, 2, epoch, item])
        if self.adaptation.items is not None and self.pool.query_sampling == "sequential":
            query, number = self.pool.pairs[item % len(self.pool.pairs)]
        else:
            number = self.pool.class_ids[item % len(self.pool.class_ids)]
            query = draw(rng, self.pool.images_of[number])
        try:
            return episode_with_repeats(item, query, number, rng, self.pool, self.shot)
        except TooFewImages:
            raise DataError(
                f"{self.data.name}: {self.data.name_of(number)} has one image in the test's pool, and an adaptation "
                "draws others beside it; expected two or more; leave the class out with --drop-small"
            ) from None

    def epoch(self, epoch: int) -> Sequence[Episode]:
        """Return the items of an epoch as episodes, in their order."""
        return [self.episode(epoch, item) for item in range(self.per_epoch)]

    @property
    def steps(self) -> int:
        """Number of optimiser steps of all epochs of the adaptation."""
        return self.adaptation.epochs * -(-self.per_epoch // self.adaptation.batch_size)

    @cached_property
    def drawn(self) -> list[tuple[int, tuple[str, ...]]]:
        """(class number, names of its supports) of every item, over all epochs."""
        epochs = (self.epoch(epoch) for epoch in range(self.adaptation.epochs))
        return [(episode.classes[0], episode.supports[0]) for epoch in epochs for episode in epoch]

    @property
    def images_a_class(self) -> int:
        """Largest number of labelled images of a class, each image counted once."""
        seen: dict[int, set[str]] = {}
        for number, names in self.drawn:
            seen.setdefault(number, set()).update(names)
        return max(map(len, seen.values()))

    @property
    def names(self) -> list[str]:
        """Names of all labelled images of the adaptation, each once, sorted."""
        return sorted({name for _, names in self.drawn for name in names})

    @property
    def files(self) -> Sequence[Path]:
        """Image and label files of all epochs."""
        return [*map(self.data.image_path, self.names), *map(self.data.label_file, self.names)]

    @property
    def hashes(self) -> dict[str, str]:
        """{name: hash} of the items, in order, and of the files' contents, for a run's identity."""
        return {"items_sha256": fingerprint(self.drawn), "files_sha256": contents_sha256(self.data, self.names)}

    def batches(self, epoch: int) -> Iterator[EpisodeBatch]:
        """Yield the batches of an epoch of the adaptation, the same for any number of processes or workers."""
        episodes, size = self.epoch(epoch), self.adaptation.batch_size
        for start in range(0, len(episodes), size):
            yield collate([self.load(epoch, episode) for episode in episodes[start : start + size]])

    def load(self, epoch: int, episode: Episode) -> EpisodeBatch:
        """Load an item of an epoch as a batch of size 1, whose query is a randomly changed support."""
        config = self.config
        rng = random.Random(repr((self.seed, "adaptation", epoch, episode.number)))
        supports, number = episode.supports[0], episode.classes[0]
        chosen = supports[rng.randrange(len(supports))]
        loaded = load_episode(self.data, Episode(episode.number, chosen, number, (number,), episode.supports), config)
        resize_image, resize_labels = RESIZES[config.resize]
        changes = QueryChanges(self.adaptation.flip, self.adaptation.shuffle)
        image, label = changes(*labelled_image(self.data, chosen, [number]), rng)
        mask = torch.from_numpy(np.asarray(resize_labels(label, config.size, config.size)))
        return EpisodeBatch(
            images=torch.cat([loaded.images, resize_image(image, config.size)[None]]),
            image_names=[*loaded.image_names, chosen],
            query=torch.tensor([len(loaded.images)]),
            support=loaded.support,
            support_labels=loaded.support_labels,
            valid=loaded.valid,
            query_sizes=torch.tensor([[config.size, config.size]]),
            episodes=loaded.episodes,
            truth=Truth([mask], (mask == 1).any()[None, None], torch.tensor([[number]])),
            recurs=False,
        )
