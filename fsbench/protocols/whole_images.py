"""Whole images with the labels of all base classes: training and validation of the base learner (hmnet.md §2.4).

The base learners of BAM and HMNet see the images in the order of PFENet's lists (§2.4.1, §2.4.5). An item is an episode
without supports, so that everything that moves episodes moves it as well. In its label map the base classes are 1..n in
ascending order of their numbers; novel classes are background, void stays 255.

Shapes: n base classes, S image side.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fsbench.data.dataset import VOID, SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.label_maps import resize_labels_padded, way_labels
from fsbench.data.truth import EpisodeTruth
from fsbench.protocols.image_lists import image_lists
from fsbench.protocols.lists import without_other_classes
from fsbench.protocols.pools import Pool
from fsbench.scores.answers import SegmentationAnswer, SegmentationResult, count_answer

if TYPE_CHECKING:
    from fsbench.data.batch import EpisodeBatch

BACKGROUND = 0
"""Stands for a class where an image is listed as a whole."""


class WholeImages:
    """The images of a data set with all base classes of a fold; their truth and counts are as of a protocol's episodes.

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

    def truth(
        self, index: SegmentationIndex, episode: Episode, image_size: int, labels: np.ndarray | None = None
    ) -> EpisodeTruth:
        """Return the truth of an image at the method's input size, padded with void.

        Args:
            index: the data set.
            episode: the image.
            image_size: side S of images.
            labels: label map (H, W) of the image, where it was read already.

        Raises:
            DataError: the label map cannot be read.
        """
        classes, labels = sorted(self.classes), index.label_map(episode.query) if labels is None else labels
        numbered = way_labels(labels, index.label_values(episode.query, classes))
        return image_truth(episode.index, resize_labels_padded(numbered, image_size), classes)

    def separate(self, batch: "EpisodeBatch") -> "tuple[EpisodeBatch, list[EpisodeTruth]]":
        """Split a batch into what a method sees and what its answers are counted against, one an image."""
        return batch.without_truth(), batch.truths()

    def numbers(self, batch: "EpisodeBatch") -> list[int]:
        """Return the places of the images of a batch."""
        return list(batch.episodes.tolist())

    def count(self, answer: SegmentationAnswer, truth: EpisodeTruth) -> SegmentationResult:
        """Count the pixels of the base classes in an image; void is not scored (§2.4.5)."""
        found = np.where(truth.label_map == VOID, 0, answer.label_map)
        return count_answer(replace(answer, label_map=found), truth)


def image_truth(number: int, labels: np.ndarray, classes: Sequence[int]) -> EpisodeTruth:
    """Return the truth of an image whose label map (S, S) uint8 shows the n-th of `classes` as n; void is 255."""
    present = np.isin(np.arange(1, len(classes) + 1), labels)
    return EpisodeTruth(number, (labels.shape[0], labels.shape[1]), labels, present, np.array(classes, dtype=np.int64))
