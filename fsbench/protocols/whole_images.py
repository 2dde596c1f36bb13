"""Whole images with the labels of all base classes: training and validation of the base learner (hmnet.md §2.4).

The base learners of BAM and HMNet see the images in the order of PFENet's lists (§2.4.1, §2.4.5). An item is an episode
without supports, so that everything that moves episodes moves it as well. In its label map the base classes are 1..n in
ascending order of their numbers; novel classes are background, void stays 255.

Shapes: n base classes, S image side.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fsbench.data.batch import EpisodeBatch, EpisodeTruth, Truth
from fsbench.data.dataset import VOID, SegmentationIndex
from fsbench.data.decoding import DecodedImageCache
from fsbench.data.transforms import resize_labels_padded, resize_padded
from fsbench.episodes.episode import Episode
from fsbench.episodes.manifest import Manifest
from fsbench.metrics.episodic import SegmentationAnswer, SegmentationResult, count_answer
from fsbench.protocols.lists import without_other_classes
from fsbench.protocols.loading import LoadingConfig, labelled_image
from fsbench.protocols.pfenet import image_lists
from fsbench.protocols.pools import Pool

BACKGROUND = 0
"""Stands for a class where an image is listed as a whole."""


class WholeImages:
    """The images of a data set with all base classes of a fold; it loads and counts them as a protocol its episodes.

    Args:
        index: the data set.
        fold: fold whose novel classes are background.
    """

    def __init__(self, index: SegmentationIndex, fold: int):
        self.index, self.fold = index, fold
        self.classes = index.train_classes(fold)

    def training_pool(self, filter_novel: bool | None = None) -> Pool:
        """Return every training image, in list order, with the base classes; no episodes can be drawn from it.

        Args:
            filter_novel: leave out images that show a class besides the base ones.
        """
        names = image_lists(self.index).image_order("trn")
        if filter_novel:
            names = without_other_classes(self.index, names, self.classes)
        pairs = [(name, BACKGROUND) for name in names]
        return Pool(pairs, {}, self.classes, "sequential")

    def manifest(self, count: int | None = None) -> Manifest:
        """Return the images of the test part, each an episode without supports, for the base classes.

        Args:
            count: only so many images from the start of the list; all unless given.
        """
        names = list(image_lists(self.index).image_order("val"))[:count]
        entries = {
            "kind": "whole images",
            "dataset": self.index.name,
            "fold": self.fold,
            "class_ids": self.classes,
            "class_names": {str(number): self.index.class_names[number - 1] for number in self.classes},
        }
        return Manifest(entries, tuple(Episode(i, name, BACKGROUND, (), ()) for i, name in enumerate(names)))

    def item(
        self, index: SegmentationIndex, episode: Episode, config: LoadingConfig, files: DecodedImageCache
    ) -> EpisodeBatch:
        """Load an image by the padded resize, unchanged but for that."""
        classes = sorted(self.classes)
        pixels, labels = labelled_image(index, episode.query, classes)
        target = torch.from_numpy(resize_labels_padded(labels, config.size))
        return whole_image(episode.query, episode.index, resize_padded(pixels, config.size), target, classes)

    def separate(self, batch: EpisodeBatch) -> tuple[EpisodeBatch, list[EpisodeTruth]]:
        """Split a batch into what a method sees and what its answers are counted against, one an image."""
        return batch.without_truth(), batch.truths()

    def numbers(self, batch: EpisodeBatch) -> list[int]:
        """Return the places of the images of a batch."""
        return list(batch.episodes.tolist())

    def count(self, answer: SegmentationAnswer, truth: EpisodeTruth) -> SegmentationResult:
        """Count the pixels of the base classes in an image; void is not scored (§2.4.5)."""
        found = answer.label_map.masked_fill(truth.label_map == VOID, 0)
        return count_answer(replace(answer, label_map=found), truth)


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
        ways=torch.tensor([len(classes)]),
    )
