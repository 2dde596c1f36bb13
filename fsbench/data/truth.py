"""The truth of one episode, as numpy arrays."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EpisodeTruth:
    """The ground truth of one episode, with which a prediction is compared.

    Attributes:
        episode: number of the episode in the test's list.
        size: (height, width) that a predicted label map should have; see `EpisodeBatch.query_sizes`.
        label_map: (h, w) uint8: 0 background, 1..N ways, 255 void.
        presence: (N,) bool, whether the way occurs anywhere in the query at its original size.
        classes: (N,) int64 class numbers.
    """

    episode: int
    size: tuple[int, int]
    label_map: np.ndarray
    presence: np.ndarray
    classes: np.ndarray
