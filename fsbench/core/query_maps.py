"""The steps of a method's prediction over the query, as values: maps, and points, boxes, a graph and regions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from torch import Tensor

from fsbench.data.batch import EpisodeBatch

Step = TypeVar("Step")


@dataclass(frozen=True)
class Sketch:
    """What a method can draw over the query: points, boxes, a graph, regions; each may be missing.

    Places are shares of the image's width and height, x before y; groups are counted from 1 and have a color each, 0
    is what lies off the object.

    Attributes:
        points: (n, 2) float.
        groups: (n,) int, those of the points; all in the first one if empty.
        edges: (e, 2) int, numbers of points, each an arrow from the first to the second.
        boxes: (m, 4) float, x0, y0, x1, y1.
        box_groups: (m,) int; all in the first one if empty.
        regions: (h, w) int, the group of each pixel, 0 none; None without.
        values: (h, w) float below all else, drawn from least to most; None without.
    """

    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    groups: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    edges: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    box_groups: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    regions: np.ndarray | None = None
    values: np.ndarray | None = None


@runtime_checkable
class HasQueryMaps(Protocol):
    """A method that can show maps over the query's patches, or sketches, of how it made a prediction."""

    def query_maps(self, episode: EpisodeBatch) -> Mapping[str, Tensor | Sketch]:
        """Return {name: map (h, w) or sketch} for an episode, in the order of the method's steps.

        Numbers with a fraction are drawn from least to most, int64 as regions of a color each, bool as a mask; a
        picture (h, w, 3) uint8, such as what the network is shown, as it is.
        """


def join_ways(ways: Sequence[Mapping[str, Step]]) -> dict[str, Step]:
    """Join the steps of several ways; if there are several, a step's name ends with the way's number.

    >>> join_ways([{"points": 3}]), join_ways([{"points": 3}, {"points": 5}])
    ({'points': 3}, {'points 1': 3, 'points 2': 5})
    """
    return {
        f"{name} {way}" if len(ways) > 1 else name: step
        for way, steps in enumerate(ways, 1)
        for name, step in steps.items()
    }


def stacked_regions(masks: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Draw masks (n, H, W) bool as regions (H, W), numbered by `groups` (n,), larger masks below; 0 is left out."""
    regions = np.zeros(masks.shape[1:], np.int64)
    for k in np.argsort(-masks.sum((1, 2)), kind="stable"):
        if groups[k] > 0:
            regions[masks[k]] = groups[k]
    return regions


def share_box(mask: np.ndarray) -> np.ndarray:
    """Return the box (4,) of a mask (h, w) as shares of width and height; zeros if the mask is empty."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return np.zeros(4)
    height, width = mask.shape
    return np.array([columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height])
