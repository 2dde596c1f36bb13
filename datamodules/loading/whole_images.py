"""Whole images with the labels of all base classes, for training of the base learner (hmnet.md §2.4)."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from fsbench.data.batch import EpisodeBatch
from fsbench.data.dataset import SegmentationData
from fsbench.data.transforms import RESIZES
from fsbench.data.truth import EpisodeTruth
from fsbench.datamodules.loading.augment import Augmentation
from fsbench.datamodules.loading.items import LoadingConfig, labelled_image, whole_image


class TrainingImages(Dataset[EpisodeBatch]):
    """Training images with labels of all base classes, as a torch dataset; changed at random, or only resized.

    Args:
        data: the data set.
        names: names of the images.
        classes: numbers of the base classes.
        config: side S of images, and how they are resized if `augmentation` is None.
        augmentation: the random changes; None for none.
        seed: the seed of the random changes; item (epoch, i) depends on (seed, epoch, i) alone.
    """

    def __init__(
        self,
        data: SegmentationData,
        names: Sequence[str],
        classes: Sequence[int],
        config: LoadingConfig,
        augmentation: Augmentation | None,
        seed: int,
    ):
        self.data, self.config, self.augmentation, self.seed = data, config, augmentation, seed
        self.names, self.classes = names, sorted(classes)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, item: tuple[int, int]) -> EpisodeBatch:
        epoch, i = item
        pixels, labels = labelled_image(self.data, self.names[i], self.classes)
        if self.augmentation is None:
            resize, resize_labels = RESIZES[self.config.resize]
            image = resize(pixels, self.config.size)
            labels = resize_labels(labels, self.config.size, self.config.size)
        else:
            augmented, labels = self.augmentation(pixels, labels, random.Random(repr((self.seed, epoch, i))))
            image = torch.from_numpy(augmented)
        return whole_image(self.names[i], image, image_truth(i, labels, self.classes))


def image_truth(number: int, labels: np.ndarray, classes: Sequence[int]) -> EpisodeTruth:
    """Return the ground truth of a whole image: label map (S, S) uint8 with n for the n-th of `classes`, 255 void."""
    present = np.isin(np.arange(1, len(classes) + 1), labels)
    return EpisodeTruth(number, (labels.shape[0], labels.shape[1]), labels, present, np.array(classes, dtype=np.int64))
