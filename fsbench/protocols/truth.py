"""The truth of an episode, read from its query's label map: the one that the loader gives, without torch and images."""

import numpy as np

from fsbench.data.dataset import SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.label_maps import way_labels
from fsbench.data.truth import EpisodeTruth
from fsbench.protocols.geometry import Geometry


def episode_truth(
    index: SegmentationIndex,
    episode: Episode,
    geometry: Geometry,
    image_size: int,
    labels: np.ndarray | None = None,
) -> EpisodeTruth:
    """Return the truth of an episode at the size at which pixels are counted.

    Args:
        index: the data set, as the protocol's `view` has it.
        episode: its names.
        geometry: where masks lie, and how large they are.
        image_size: side S of the images that the method sees.
        labels: label map (H, W) of the query, where it was read already.

    Raises:
        DataError: the label map cannot be read.
    """
    labels = index.label_map(episode.query) if labels is None else labels
    query = way_labels(labels, index.label_values(episode.query, episode.classes))
    slots = range(1, len(episode.classes) + 1)
    present = np.array([slot in query for slot in slots], dtype=bool)  # anywhere at original size, also in training
    label_map, size = geometry.truth(query, image_size)
    return EpisodeTruth(episode.index, size, label_map, present, np.array(episode.classes, dtype=np.int64))
