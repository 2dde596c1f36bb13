"""Whole images with the labels of all base classes, for training and validation of the base learner (hmnet.md §2.4).

An item is an episode without supports, so that everything that moves episodes moves it as well. In its label map the
base classes are 1..n in ascending order of their numbers; novel classes are background, void stays 255.

Shapes: n base classes, S image side.
"""

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.loading.augment import Augmentation
from datamodules.loading.episodes import LoadingConfig
from fsbench.data.batch import EpisodeBatch, Truth
from fsbench.data.dataset import SegmentationIndex
from fsbench.data.image_io import check_sizes, read_view
from fsbench.data.label_maps import way_labels
from fsbench.data.transforms import RESIZES, resize_labels_padded, resize_padded


class TrainingImages(Dataset[EpisodeBatch]):
    """Training images, augmented or resized; item (epoch, i) is a function of (seed, epoch, i) alone.

    Args:
        index: the data set.
        names: the images.
        classes: numbers of the base classes.
        config: side S, and how images are resized without an augmentation.
        augmentation: random changes, or None.
        seed: of the random changes.
    """

    def __init__(
        self,
        index: SegmentationIndex,
        names: Sequence[str],
        classes: Sequence[int],
        config: LoadingConfig,
        augmentation: Augmentation | None,
        seed: int,
    ):
        self.index, self.config, self.augmentation, self.seed = index, config, augmentation, seed
        self.names, self.classes = names, sorted(classes)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, item: tuple[int, int]) -> EpisodeBatch:
        epoch, i = item
        pixels, labels = labelled_image(self.index, self.names[i], self.classes)
        if self.augmentation is None:
            resize, resize_labels = RESIZES[self.config.geometry.resize]
            image = resize(pixels, self.config.size)
            labels = resize_labels(labels, self.config.size, self.config.size)
        else:
            augmented, labels = self.augmentation(pixels, labels, random.Random(repr((self.seed, epoch, i))))
            image = torch.from_numpy(augmented)
        return whole_image(f"{self.names[i]} {(self.seed, epoch, i)}", i, image, torch.from_numpy(labels), self.classes)


class ValidationImages(Dataset[EpisodeBatch]):
    """Images by the padded resize, unchanged but for that.

    Args:
        index: the data set.
        names: the images.
        classes: numbers of the base classes.
        size: S.
    """

    def __init__(self, index: SegmentationIndex, names: Sequence[str], classes: Sequence[int], size: int):
        self.index, self.names, self.classes, self.size = index, names, sorted(classes), size

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> EpisodeBatch:
        pixels, labels = labelled_image(self.index, self.names[i], self.classes)
        target = torch.from_numpy(resize_labels_padded(labels, self.size))
        return whole_image(self.names[i], i, resize_padded(pixels, self.size), target, self.classes)


def labelled_image(index: SegmentationIndex, name: str, classes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Decode image `name`.

    Returns:
        Pixels (H, W, 3) uint8, and the label map (H, W) uint8 in which `classes` are 1..n, in their order.

    Raises:
        DataError: a file cannot be decoded, or image and label map differ in size.
    """
    path, labels = index.image_path(name), index.label_map(name)
    pixels = read_view(path, index.crop(name))
    check_sizes(path, pixels, labels, index.label_file(name))
    return pixels, way_labels(labels, index.label_values(name, classes))


def whole_image(name: str, number: int, image: Tensor, labels: Tensor, classes: Sequence[int]) -> EpisodeBatch:
    """Return an image (3, S, S) with its label map (S, S) as an episode of `classes` without supports."""
    no_support = torch.zeros(1, len(classes), 0, dtype=torch.int64)
    present = torch.isin(torch.arange(1, len(classes) + 1), labels)
    return EpisodeBatch(
        images=image[None],
        image_names=[name],
        query=torch.zeros(1, dtype=torch.int64),
        support=no_support,
        support_labels=torch.zeros(*no_support.shape, *labels.shape, dtype=torch.uint8),
        valid=no_support == 0,
        query_sizes=torch.tensor([labels.shape]),
        episodes=torch.tensor([number]),
        truth=Truth([labels], present[None], torch.tensor([list(classes)])),
    )
