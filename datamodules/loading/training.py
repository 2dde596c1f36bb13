"""Augmented training episodes of PFENet-like methods."""

import random
from collections.abc import Sequence

import numpy as np
import torch

from fsbench.data.batch import EpisodeBatch, Truth
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.label_maps import way_labels
from fsbench.datamodules.loading.augment import Augmentation
from fsbench.datamodules.loading.items import labelled_image


def augmented_episode(
    data: SegmentationData,
    episode: Episode,
    seed: tuple[int, ...],
    augmentation: Augmentation,
    base_classes: Sequence[int] = (),
) -> EpisodeBatch:
    """Load a 1-way training episode as a batch of size 1, changing each image at random on its own, the query first.

    Args:
        data: the data set.
        episode: names of its images and number of its class.
        seed: numbers that alone decide the random changes.
        augmentation: the random changes.
        base_classes: numbers of base classes, of which the query also gets a label map (bam.md §8); () for none.
    """
    rng = random.Random(repr(seed))
    number = episode.classes[0]
    names = [episode.query, *episode.supports[0]]
    more = [base_map(data, episode.query, base_classes)] if base_classes else []
    images = torch.empty(len(names), 3, augmentation.side, augmentation.side)
    planes = images.numpy()
    _, label, bases = augmentation.with_more(*labelled_image(data, episode.query, [number]), more, rng, planes[0])
    supports = [
        augmentation(*labelled_image(data, name, [number]), rng, out)[1]
        for name, out in zip(names[1:], planes[1:], strict=True)
    ]
    labels = [torch.from_numpy(changed) for changed in (label, *supports)]
    shots = len(episode.supports[0])
    return EpisodeBatch(
        images=images,
        image_names=names,
        query=torch.zeros(1, dtype=torch.int64),
        support=torch.arange(1, shots + 1)[None, None],
        support_labels=torch.stack(labels[1:])[None, None],
        valid=torch.ones(1, 1, shots, dtype=torch.bool),
        query_sizes=torch.tensor([labels[0].shape]),
        episodes=torch.tensor([episode.number]),
        truth=Truth(
            [labels[0]],
            (labels[0] == 1).any()[None, None],
            torch.tensor([[number]]),
            [torch.from_numpy(base) for base in bases],
        ),
        recurs=False,
    )


def base_map(data: SegmentationData, name: str, base_classes: Sequence[int]) -> np.ndarray:
    """Return the label map (H, W) uint8 of an image: 0 background, 1..n `base_classes` in their order, 255 void."""
    return way_labels(data.label_map(name), data.label_values(name, base_classes))
