"""Results of episodes that nobody predicted, for tests of what reads counts."""

import numpy as np

from fsbench.data.episodes.episode import Episode
from fsbench.scores.answers import SegmentationResult

PIXELS = 400 * 500
"""Pixels of an image."""


def drawn_result(episode: Episode, counts: tuple[int, int, int], present: bool, decided: bool) -> SegmentationResult:
    """Return a result of a 1-way episode that nobody predicted.

    Args:
        episode: its query has `PIXELS` pixels, 1000 of them void.
        counts: pixels of the class found, predicted and there.
        present, decided: whether the query shows the class, and whether the method says so.
    """
    return SegmentationResult(
        episode.number,
        np.array(episode.classes),
        np.array([[*counts, 0, 1000, PIXELS - 1000]] * 2),
        np.array([present]),
        np.array([decided]),
        np.array([float(decided)]),
        np.empty(0),
        np.zeros(2),
        np.zeros(2),
    )
