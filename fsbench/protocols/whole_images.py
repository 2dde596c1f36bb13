"""Lists of whole images with the labels of all base classes, for methods that learn these (hmnet.md §2.4.1, §2.4.5).

No image is left out: neither those that show novel classes, which are background, nor those without any base class.
"""

from fsbench.data.dataset import SegmentationIndex
from fsbench.episodes.episode import Episode
from fsbench.episodes.manifest import Manifest
from fsbench.protocols.pools import Pool

BACKGROUND = 0
"""Stands for a class where an image is listed as a whole."""


def training_images(index: SegmentationIndex, fold: int) -> Pool:
    """Return every training image, in list order, with the base classes of `fold`; no episodes can be drawn from it."""
    pairs = [(name, BACKGROUND) for name in index.image_order("trn")]
    return Pool(pairs, {}, index.train_classes(fold), "sequential")


def validation_images(index: SegmentationIndex, fold: int, count: int | None = None) -> Manifest:
    """Return the images of the test part, each an episode without supports, for the base classes of `fold`.

    Args:
        index: the data set.
        fold: fold whose novel classes are background.
        count: only so many images from the start of the list; all unless given.
    """
    names = list(index.image_order("val"))[:count]
    classes = index.train_classes(fold)
    header = {
        "kind": "whole images",
        "dataset": index.name,
        "fold": fold,
        "class_ids": classes,
        "class_names": {str(number): index.class_names[number - 1] for number in classes},
    }
    return Manifest(header, tuple(Episode(i, name, BACKGROUND, (), ()) for i, name in enumerate(names)))
