"""Augmented training episodes of PFENet-like methods."""

import random

import torch

from datamodules.loading.augment import Augmentation
from fsbench.data.batch import EpisodeBatch, Truth
from fsbench.data.dataset import SegmentationIndex
from fsbench.episodes.episode import Episode
from fsbench.protocols.loading import labelled_image


def augmented_episode(
    index: SegmentationIndex, episode: Episode, seed: tuple[int, ...], augmentation: Augmentation
) -> EpisodeBatch:
    """Load a 1-way episode (a batch of one) whose images are augmented at random, each by itself, query first.

    The random changes depend on `seed` alone. No image comes twice, so each has a name of its own.
    """
    rng = random.Random(repr(seed))
    number = episode.classes[0]
    names = [episode.query, *episode.supports[0]]
    images, labels = zip(*(_augment(index, name, [number], augmentation, rng) for name in names), strict=True)
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
        recurs=False,
    )


def _augment(
    index: SegmentationIndex, name: str, classes: list[int], augmentation: Augmentation, rng: random.Random
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image (3, S, S) float32 and label map (S, S) uint8 of `classes`, augmented alike."""
    image, label = augmentation(*labelled_image(index, name, classes), rng)
    return torch.from_numpy(image), torch.from_numpy(label)
