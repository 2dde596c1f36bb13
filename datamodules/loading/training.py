"""Training items of PFENet-like methods: augmented episodes, and single images with the labels of all classes."""

import random

import numpy as np
import torch
from torch.utils.data import Dataset

from datamodules.loading.augment import Augmentation
from datamodules.loading.decoding import DecodedImageCache
from datamodules.loading.episodes import LoadingConfig
from fsbench.data.batch import EpisodeBatch, Truth
from fsbench.data.dataset import SegmentationIndex
from fsbench.data.image_io import check_sizes, read_pixels
from fsbench.data.transforms import RESIZES, way_labels
from fsbench.episodes.pools import Pool
from fsbench.episodes.samplers import Episode


def augmented_episode(
    index: SegmentationIndex, episode: Episode, seed: tuple[int, ...], augmentation: Augmentation
) -> EpisodeBatch:
    """Load a 1-way episode (a batch of one) whose images are augmented at random, each by itself, query first.

    The random changes depend on `seed` alone. No image comes twice, so each has a name of its own.
    """
    rng = random.Random(repr(seed))
    number = episode.classes[0]
    names = [episode.query, *episode.supports[0]]
    images, labels = zip(*(_augmented(index, name, [number], augmentation, rng) for name in names), strict=True)
    shots = len(episode.supports[0])
    return EpisodeBatch(
        images=torch.stack(images),
        image_names=[f"{name} {seed} {i}" for i, name in enumerate(names)],
        query=torch.zeros(1, dtype=torch.int64),
        support=torch.arange(1, shots + 1)[None, None],
        support_labels=torch.stack(labels[1:])[None, None],
        valid=torch.ones(1, 1, shots, dtype=torch.bool),
        query_sizes=torch.tensor([labels[0].shape]),
        episodes=torch.tensor([episode.index]),
        truth=Truth([labels[0]], (labels[0] == 1).any()[None, None], torch.tensor([[number]])),
    )


class TrainingImages(Dataset[EpisodeBatch]):
    """Images of base classes with all of these in the label map: 1..n in ascending order of the class numbers.

    An item is an episode whose support is empty of pixels, so that everything that moves episodes moves it as well.
    Item (epoch, i) is a function of (seed, epoch, i) alone.
    """

    def __init__(
        self, index: SegmentationIndex, pool: Pool, config: LoadingConfig, augmentation: Augmentation | None, seed: int
    ):
        self.index, self.config, self.augmentation, self.seed = index, config, augmentation, seed
        self.images = pool.images
        self.classes = sorted(pool.class_ids)
        self.files: DecodedImageCache = config.files(index)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, item: tuple[int, int]) -> EpisodeBatch:
        epoch, i = item
        name, side = self.images[i], self.config.size
        if self.augmentation is None:
            image, labels = self.files.decoded(name)
            slots = way_labels(labels, self.index.label_values(name, self.classes))
            target = torch.from_numpy(RESIZES[self.config.resize][1](slots, side, side))
        else:
            rng = random.Random(repr((self.seed, epoch, i)))
            image, target = _augmented(self.index, name, self.classes, self.augmentation, rng)
            name = f"{name} {(self.seed, epoch, i)}"
        one = torch.zeros(1, 1, 1, dtype=torch.int64)
        return EpisodeBatch(
            images=image[None],
            image_names=[name],
            query=torch.zeros(1, dtype=torch.int64),
            support=one,
            support_labels=torch.zeros(1, 1, 1, side, side, dtype=torch.uint8),
            valid=one == 0,
            query_sizes=torch.tensor([target.shape]),
            episodes=torch.tensor([i]),
            truth=Truth([target], torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.int64)),
        )


def _augmented(
    index: SegmentationIndex, name: str, classes: list[int], augmentation: Augmentation, rng: random.Random
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image (3, S, S) float32 and label map (S, S) uint8 of `classes`, augmented alike."""
    path, labels = index.image_path(name), index.label_map(name)
    pixels = read_pixels(path)
    check_sizes(path, pixels, labels, index.label_file(name))
    slots = way_labels(labels, index.label_values(name, classes))
    image, label = augmentation(np.asarray(pixels), slots, rng)
    return torch.from_numpy(image).permute(2, 0, 1).contiguous(), torch.from_numpy(label)
