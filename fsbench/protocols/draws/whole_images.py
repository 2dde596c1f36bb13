"""Whole images with the labels of all base classes: training and validation of the base learner (hmnet.md §2.4).

The base learners of BAM and HMNet see the images in the order of PFENet's lists (§2.4.1, §2.4.5). An item is an episode
without supports, so that everything that moves episodes moves it as well. In its label map the base classes are 1..n in
ascending order of their numbers; novel classes are background, void stays 255.

Shapes: n base classes, S image side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import Task
from fsbench.protocols.draws.draw import Draw, OfficialEpisodes
from fsbench.protocols.episode_rules.image_lists import ImageLists
from fsbench.protocols.episode_rules.pair_lists import without_other_classes
from fsbench.protocols.episode_rules.pools import Pool

BACKGROUND = 0
"""Stands for a class where an image is listed as a whole."""


def whole_image_pool(data: SegmentationData, fold: int, filter_novel: bool | None = None) -> Pool:
    """Return a pool of all training images, in list order, with the base classes; it has no supports.

    Args:
        data: the data set.
        fold: fold whose novel classes are background.
        filter_novel: leave out images that show a class besides the base ones.
    """
    names: Sequence[str] = ImageLists.of(data).image_order("trn")
    classes = data.train_classes(fold)
    if filter_novel:
        names = without_other_classes(data, names, classes)
    return Pool([(name, BACKGROUND) for name in names], {}, classes, "sequential")


@dataclass(frozen=True)
class WholeImages(Draw):
    """Draw in which every image of the test part is labelled with all base classes of a fold."""

    kind: ClassVar[str | None] = "whole images"
    is_test: ClassVar[bool] = False
    description: ClassVar[str] = "every image of the test part, in the order of PFENet's lists"

    def official_episodes(self, data: SegmentationData, task: Task) -> OfficialEpisodes:
        """Return the test images as episodes without supports; the first ones if `task` asks for fewer."""
        names = list(ImageLists.of(data).image_order("val"))[: task.episodes]
        episodes = tuple(Episode(i, name, BACKGROUND, (), ()) for i, name in enumerate(names))
        return OfficialEpisodes(episodes, data.train_classes(task.fold), len(episodes), len(episodes))

    def header_entries(self, data: SegmentationData, task: Task, drawn: OfficialEpisodes) -> dict[str, Any]:
        """Return the entries {name: value} of the header: fold and classes."""
        names = {str(number): data.class_names[number - 1] for number in drawn.class_ids}
        return {"fold": task.fold, "class_ids": list(drawn.class_ids), "class_names": names}


def with_classes(manifest: Manifest) -> list[Episode]:
    """Return a manifest's images as episodes without supports, each asking for all classes."""
    classes = tuple(sorted(manifest.class_ids))
    return [replace(image, classes=classes, supports=((),) * len(classes)) for image in manifest.episodes]
