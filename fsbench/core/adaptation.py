"""An adaptation: what a trained method learns from labelled images of the test's own classes, and these images."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from fsbench.base.errors import DataError, SettingsError
from fsbench.base.files import fingerprint
from fsbench.core.data_options import check_at_least
from fsbench.core.loading import LoadingConfig, labelled_image, load_episode
from fsbench.core.query_changes import QueryChanges
from fsbench.data.batch import EpisodeBatch, Truth, collate
from fsbench.data.dataset import SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.file_digests import contents_sha256
from fsbench.data.transforms import RESIZES
from fsbench.protocols.draws.hsnet import draw, episode_with_repeats
from fsbench.protocols.draws.pools import Pool, TooFewImages

AdaptationPool = Literal["target_pool", "episode", "none"]
"""Labelled images that a method adapts to: images drawn from the whole pool of the test before it, which is more than
the shots; the supports of each episode, which begins from the trained weights; none."""
AdaptationChoice = Literal["validation", "last"]
"""How the epoch of an adaptation is chosen: by the validation of `data.training.validation`, or it is the last one."""


@dataclass(frozen=True)
class Adaptation:
    """Settings of an adaptation (ifa.md §5-§7).

    Attributes:
        images: what it learns from.
        epochs: passes over its items; with `episode` steps, one item each.
        items: items of a pass; None for one of each class of the test. Where the protocol lists its queries one by one
            (FSS-1000) a number takes the classes of its first so many.
        batch_size: items of a step.
        learning_rate: of SGD.
        choice: how the epoch is kept.
        flip: probability of each flip of an item's query.
        shuffle: shuffle the quadrants of that query.
        seed: of what `episode` draws, with the episode's number; the run's own seed else.
    """

    images: AdaptationPool = "target_pool"
    epochs: int = 20
    items: int | None = None
    batch_size: int = 12
    learning_rate: float = 5e-4
    choice: AdaptationChoice = "validation"
    flip: float = 0.5
    shuffle: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        counts = {"epochs": self.epochs, "items": self.items, "batch_size": self.batch_size}
        check_at_least(1, {f"adaptation.{name}": value for name, value in counts.items()})
        check_at_least(0, {"adaptation.seed": self.seed})
        if not 0 < self.learning_rate < float("inf") or not 0 <= self.flip <= 1:
            raise SettingsError(
                f"adaptation.learning_rate is {self.learning_rate:g} and adaptation.flip {self.flip:g}; expected a "
                "rate above 0, and a probability"
            )

    @property
    def changes(self) -> QueryChanges:
        """The random changes of an item's query."""
        return QueryChanges(self.flip, self.shuffle)


@dataclass(frozen=True)
class AdaptationImages:
    """The labelled images of an adaptation (ifa.md §7); item i of epoch e follows from (seed, e, i) alone.

    Classes take turns; an image of the class is drawn and thrown away, and K supports beside it, which may repeat.

    Attributes:
        index: the data set.
        pool: the images of the test's classes that items are drawn from.
        shot: number K of supports of an item.
        seed: seed of all items.
        adaptation: settings of the adaptation.
        config: how files are loaded.
    """

    index: SegmentationIndex
    pool: Pool
    shot: int
    seed: int
    adaptation: Adaptation
    config: LoadingConfig

    @property
    def per_epoch(self) -> int:
        """Number of items of an epoch."""
        return self.adaptation.items or len(self.pool.class_ids)

    def episode(self, epoch: int, item: int) -> Episode:
        """Return the names of an item. Raises DataError where its class has one image."""
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
                f"{self.index.name}: {self.index.name_of(number)} has one image in the test's pool, and an adaptation "
                "draws others beside it; expected two or more; leave the class out with DROP_SMALL=1 (--drop-small)"
            ) from None

    def epoch(self, epoch: int) -> Sequence[Episode]:
        """Return the items of an epoch in their order."""
        return [self.episode(epoch, item) for item in range(self.per_epoch)]

    @property
    def steps(self) -> int:
        """Number of steps of all epochs."""
        return self.adaptation.epochs * -(-self.per_epoch // self.adaptation.batch_size)

    @cached_property
    def drawn(self) -> list[tuple[int, tuple[str, ...]]]:
        """Class number and supports of the items of all epochs, in their order."""
        epochs = (self.epoch(epoch) for epoch in range(self.adaptation.epochs))
        return [(episode.classes[0], episode.supports[0]) for epoch in epochs for episode in epoch]

    @property
    def images_a_class(self) -> int:
        """Largest number of labelled images of a class, each counted once."""
        seen: dict[int, set[str]] = {}
        for number, names in self.drawn:
            seen.setdefault(number, set()).update(names)
        return max(map(len, seen.values()))

    @property
    def names(self) -> list[str]:
        """Names of all labelled images, each once, sorted."""
        return sorted({name for _, names in self.drawn for name in names})

    @property
    def files(self) -> Sequence[Path]:
        """Image and label files of all epochs."""
        return [*map(self.index.image_path, self.names), *map(self.index.label_file, self.names)]

    @property
    def hashes(self) -> dict[str, str]:
        """Hashes of the items in their order and of the contents of the files, for a run's identity."""
        return {"items_sha256": fingerprint(self.drawn), "files_sha256": contents_sha256(self.index, self.names)}

    def batches(self, epoch: int) -> Iterator[EpisodeBatch]:
        """Yield the batches of an epoch, whatever the number of processes and of workers."""
        episodes, size = self.epoch(epoch), self.adaptation.batch_size
        for start in range(0, len(episodes), size):
            yield collate([self.load(epoch, episode) for episode in episodes[start : start + size]])

    def load(self, epoch: int, episode: Episode) -> EpisodeBatch:
        """Load an item of an epoch: a batch of one, whose query is a changed support with its mask."""
        config = self.config
        rng = random.Random(repr((self.seed, "adaptation", epoch, episode.index)))
        supports, number = episode.supports[0], episode.classes[0]
        chosen = supports[rng.randrange(len(supports))]
        loaded = load_episode(self.index, Episode(episode.index, chosen, number, (number,), episode.supports), config)
        resize_image, resize_labels = RESIZES[config.resize]
        image, label = self.adaptation.changes(*labelled_image(self.index, chosen, [number]), rng)
        mask = torch.from_numpy(np.asarray(resize_labels(label, config.size, config.size)))
        return EpisodeBatch(
            images=torch.cat([loaded.images, resize_image(image, config.size)[None]]),
            image_names=[*loaded.image_names, f"{chosen} of {episode.index} changed"],
            query=torch.tensor([len(loaded.images)]),
            support=loaded.support,
            support_labels=loaded.support_labels,
            valid=loaded.valid,
            query_sizes=torch.tensor([[config.size, config.size]]),
            episodes=loaded.episodes,
            truth=Truth([mask], (mask == 1).any()[None, None], torch.tensor([[number]])),
            recurs=False,
        )
